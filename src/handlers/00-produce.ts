/**
 * Produce, versions 0 to 13.
 *
 * 0-2   message sets of magic 0 and 1, made one magic-2 batch; 1: throttle time; 2: log append time
 * 3     transactional id; one magic-2 batch a partition from here on
 * 5     log start offset
 * 7     zstd
 * 8     record errors and error message (KIP-467)
 * 9     flexible
 * 10    current leader (KIP-951); nothing to tell, as there is one broker
 * 11,12 transaction errors (KIP-890)
 * 13    topic ids
 *
 * With acks=0 nothing is answered; an error closes the connection, so that the client asks for metadata again.
 */
import { errorCodes, errorName } from '../../protocol/error-codes.ts';
import {
  type ProduceRequest,
  type ProduceResponseInput,
  type ProduceResponseTopicProduceResponseInput,
  produceRequest,
  produceResponse,
} from '../../protocol/generated/00-produce.ts';
import type { PartitionAppendResult } from '../services/append/append-result.ts';
import type { AppendService } from '../services/append/append-service.ts';
import type { TopicDirectory } from '../services/topics/topic.ts';
import {
  CloseConnection,
  defineHandler,
  type HandlerResult,
  NO_ANSWER,
  type RequestContext,
} from './handler.ts';

const firstVersionWithTopicIds = 13;

export interface ProduceServices {
  readonly topics: Pick<TopicDirectory, 'get' | 'byId'>;
  readonly appends: AppendService;
}

type ProduceResult = HandlerResult<ProduceResponseInput>;

export function produceHandler(services: ProduceServices) {
  const { topics, appends } = services;
  return defineHandler<ProduceRequest, ProduceResponseInput>({
    apiKey: 0,
    minVersion: 0,
    maxVersion: 13,
    request: produceRequest,
    response: produceResponse,
    handle(request: ProduceRequest, context: RequestContext): ProduceResult | Promise<ProduceResult> {
      const version = context.apiVersion;
      const append = appends.begin({ version, acks: request.acks, transactionalId: request.transactionalId });
      for (const requested of request.topicData) {
        const topic =
          version >= firstVersionWithTopicIds ? topics.byId(requested.topicId) : topics.get(requested.name);
        for (const { index, records } of requested.partitionData) {
          if (topic !== undefined) append.add(topic, index, records);
          else {
            append.fail(
              index,
              version >= firstVersionWithTopicIds
                ? errorCodes.UNKNOWN_TOPIC_ID
                : errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
            );
          }
        }
      }
      const results = append.run();
      return results instanceof Promise
        ? results.then((later) => answer(request, later))
        : answer(request, results);
    },
    fail: (request, errorCode) => ({
      responses: request.topicData.map((topic) => ({
        name: topic.name,
        topicId: topic.topicId,
        partitionResponses: topic.partitionData.map(({ index }) => ({ index, errorCode, baseOffset: -1 })),
      })),
    }),
  });
}

function answer(request: ProduceRequest, results: readonly PartitionAppendResult[]): ProduceResult {
  if (request.acks === 0) return answerNothing(results);
  const responses: ProduceResponseTopicProduceResponseInput[] = [];
  let next = 0;
  for (const { name, topicId, partitionData } of request.topicData) {
    const count = partitionData.length;
    const partitionResponses =
      next === 0 && count === results.length ? results : results.slice(next, next + count);
    next += count;
    responses.push({ name, topicId, partitionResponses });
  }
  return { responses };
}

function answerNothing(results: readonly PartitionAppendResult[]): ProduceResult {
  for (const result of results) {
    if (result.errorCode === errorCodes.NONE) continue;
    const detail = result.errorMessage === null ? '' : `: ${result.errorMessage}`;
    return new CloseConnection(
      `a produce request with acks=0 failed in partition ${result.index} with ${errorName(result.errorCode)}${detail}`,
    );
  }
  return NO_ANSWER;
}
