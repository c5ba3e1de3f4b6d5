/**
 * Fetch, versions 0 to 18.
 *
 * 0,1   message sets of magic 0; 1: throttle time
 * 2,3   magic 1; 3: max bytes of the whole answer
 * 4     magic 2 as stored, isolation level, last stable offset, aborted transactions
 * 5     log start offset
 * 7     sessions (KIP-227)
 * 9     the client's leader epoch (KIP-320)
 * 10    zstd
 * 11    rack and preferred replica; there is one broker, so it names none
 * 12    flexible; diverging epochs (KIP-595)
 * 13    topic ids
 * 15-18 fields of replicas, of which there are none; 16: leaders in the answer (KIP-951), nothing to tell
 */
import {
  type FetchRequest,
  type FetchResponseInput,
  fetchRequest,
  fetchResponse,
} from '../../protocol/generated/01-fetch.ts';
import type { FetchOutcome, FetchService } from '../services/fetch/fetch-service.ts';
import type { Quotas } from '../services/quotas/quotas.ts';
import { defineHandler, type RequestContext } from './handler.ts';

export interface FetchServices {
  readonly fetches: FetchService;
  readonly quotas?: Pick<Quotas, 'fetchRoom'>;
}

export function fetchHandler({ fetches, quotas }: FetchServices) {
  return defineHandler<FetchRequest, FetchResponseInput>({
    apiKey: 1,
    minVersion: 0,
    maxVersion: 18,
    request: fetchRequest,
    response: fetchResponse,
    handle(request, context) {
      const { connection, clientId } = context;
      const room = quotas?.fetchRoom({ principal: connection.principal, clientId });
      if (room !== undefined && 'waitMs' in room) {
        context.throttle(room.waitMs);
        return fetches.withoutRecords(request, context.apiVersion);
      }
      const outcome = fetches.fetch(request, context.apiVersion, connection, room?.bytes);
      return outcome instanceof Promise
        ? outcome.then((later) => answer(later, context))
        : answer(outcome, context);
    },
    fail: (request, errorCode, context) => failure(request, errorCode, context.apiVersion),
  });
}

function answer({ response, release }: FetchOutcome, context: RequestContext): FetchResponseInput {
  if (release !== undefined) context.afterSent(release);
  return response;
}

const firstVersionWithErrorCode = 7;

/** Before version 7 there is no error of the whole answer. */
function failure(request: FetchRequest, errorCode: number, version: number): FetchResponseInput {
  if (version >= firstVersionWithErrorCode) return { errorCode, sessionId: 0, responses: [] };
  return {
    responses: request.topics.map(({ topic, topicId, partitions }) => ({
      topic,
      topicId,
      partitions: partitions.map(({ partition }) => ({
        partitionIndex: partition,
        errorCode,
        highWatermark: -1,
        records: Buffer.alloc(0),
      })),
    })),
  };
}
