/** ListGroups, versions 0 to 5. 1: throttle time; 3: flexible; 4: states and a filter by them (KIP-518); 5: types and a filter (KIP-848). */
import {
  type ListGroupsRequest,
  type ListGroupsResponseInput,
  listGroupsRequest,
  listGroupsResponse,
} from '../../protocol/generated/16-list-groups.ts';
import type { GroupCoordinator } from '../services/groups/group-coordinator.ts';
import { defineHandler } from './handler.ts';

export interface ListGroupsServices {
  readonly groups: Pick<GroupCoordinator, 'list'>;
}

export function listGroupsHandler({ groups }: ListGroupsServices) {
  return defineHandler<ListGroupsRequest, ListGroupsResponseInput>({
    apiKey: 16,
    minVersion: 0,
    maxVersion: 5,
    request: listGroupsRequest,
    response: listGroupsResponse,
    async handle(request) {
      return groups.list({ states: filterOf(request.statesFilter), types: filterOf(request.typesFilter) });
    },
    fail: (_request, errorCode) => ({ errorCode, groups: [] }),
  });
}

/** Kafka's filters heed neither case nor blanks around. */
function filterOf(words: readonly string[]): ReadonlySet<string> {
  return new Set(words.map((word) => word.trim().toLowerCase()));
}
