/**
 * AlterReplicaLogDirs, versions 0 to 2 (KIP-113): moves partitions to another directory of the broker. There is one: to it they
 * are moved already, any other is LOG_DIR_NOT_FOUND.
 *
 * 1: throttling rules only. 2: flexible.
 */

import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type AlterReplicaLogDirsRequest,
  type AlterReplicaLogDirsResponseAlterReplicaLogDirTopicResultInput,
  type AlterReplicaLogDirsResponseInput,
  alterReplicaLogDirsRequest,
  alterReplicaLogDirsResponse,
} from '../../protocol/generated/34-alter-replica-log-dirs.ts';
import { type AnyHandler, defineHandler } from './handler.ts';
import type { Services } from './services.ts';

export function alterReplicaLogDirsHandler({
  dataVolume,
  topics,
}: Pick<Services, 'dataVolume' | 'topics'>): AnyHandler {
  function move(path: string, name: string, index: number): number {
    if (path !== dataVolume.path) return errorCodes.LOG_DIR_NOT_FOUND;
    return topics.get(name)?.partitions[index] === undefined
      ? errorCodes.UNKNOWN_TOPIC_OR_PARTITION
      : errorCodes.NONE;
  }

  /** One row a topic, whichever directories it was named under; of a partition named twice the last counts. */
  function answer(
    { dirs }: AlterReplicaLogDirsRequest,
    errorOf: (path: string, name: string, index: number) => number,
  ): AlterReplicaLogDirsResponseInput {
    const errors = new Map<string, Map<number, number>>();
    for (const { path, topics: named } of dirs) {
      for (const { name, partitions } of named) {
        for (const index of partitions) {
          const ofTopic = errors.get(name) ?? new Map<number, number>();
          errors.set(name, ofTopic.set(index, errorOf(path, name, index)));
        }
      }
    }
    const results: AlterReplicaLogDirsResponseAlterReplicaLogDirTopicResultInput[] = [];
    for (const [topicName, ofTopic] of errors) {
      const partitions = [...ofTopic].map(([partitionIndex, errorCode]) => ({ partitionIndex, errorCode }));
      results.push({ topicName, partitions });
    }
    return { throttleTimeMs: 0, results };
  }

  return defineHandler<AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponseInput>({
    apiKey: 34,
    minVersion: 0,
    maxVersion: 2,
    request: alterReplicaLogDirsRequest,
    response: alterReplicaLogDirsResponse,
    handle: (request) => answer(request, move),
    fail: (request, errorCode) => answer(request, () => errorCode),
  });
}
