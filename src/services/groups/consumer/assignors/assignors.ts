/** The assignors there are, by the names that clients and group.consumer.assignors give them. */
import { assert } from '../../../../util/assert.ts';
import type { PartitionAssignor } from '../../common/partition-assignor.ts';
import { rangeAssignor } from './range-assignor.ts';
import { uniformAssignor } from './uniform-assignor.ts';

export const assignorNames = ['uniform', 'range'] as const;

const byName: ReadonlyMap<string, PartitionAssignor> = new Map(
  [uniformAssignor, rangeAssignor].map((assignor) => [assignor.name, assignor]),
);

export function assignorByName(name: string): PartitionAssignor {
  const assignor = byName.get(name);
  assert(assignor !== undefined, `there is no assignor ${name}`);
  return assignor;
}
