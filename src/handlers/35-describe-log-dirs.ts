/**
 * DescribeLogDirs, versions 0 to 5: the one directory, and how many bytes the partitions in it take, as stored.
 *
 * 1: throttling rules only. 2: flexible. 3: an error of the whole answer. 4: size and free space of the volume (KIP-827).
 * 5: whether the directory takes no more partitions; it always does take them.
 */

import { errorCodes } from '../../protocol/error-codes.ts';
import type {
  DescribeLogDirsRequest,
  DescribeLogDirsResponseDescribeLogDirsTopicInput,
  DescribeLogDirsResponseInput,
} from '../../protocol/generated/35-describe-log-dirs.ts';
import {
  describeLogDirsRequest,
  describeLogDirsResponse,
} from '../../protocol/generated/35-describe-log-dirs.ts';
import type { Partition, Topic } from '../services/topics/topic.ts';
import { type AnyHandler, defineHandler } from './handler.ts';
import type { Services } from './services.ts';

type TopicSizes = DescribeLogDirsResponseDescribeLogDirsTopicInput;

export function describeLogDirsHandler({
  dataVolume,
  engine,
  topics,
}: Pick<Services, 'dataVolume' | 'engine' | 'topics'>): AnyHandler {
  async function sizesOf(topic: Topic, partitions: readonly Partition[]): Promise<TopicSizes> {
    const sizes = [];
    for (const { index, queue } of partitions) {
      const size = engine.sizeBytes(queue);
      sizes.push({
        partitionIndex: index,
        partitionSize: typeof size === 'number' ? size : await size,
        offsetLag: 0,
        isFutureKey: false,
      });
    }
    return { name: topic.name, partitions: sizes };
  }

  return defineHandler<DescribeLogDirsRequest, DescribeLogDirsResponseInput>({
    apiKey: 35,
    minVersion: 0,
    maxVersion: 5,
    request: describeLogDirsRequest,
    response: describeLogDirsResponse,
    async handle(request) {
      const described: TopicSizes[] = [];
      if (request.topics === null) {
        for (const topic of topics.all()) described.push(await sizesOf(topic, topic.partitions));
      } else {
        for (const { topic: name, partitions } of request.topics) {
          const topic = topics.get(name);
          if (topic === undefined) continue;
          const found = [...new Set(partitions)].flatMap((index) => topic.partitions[index] ?? []);
          if (found.length > 0) described.push(await sizesOf(topic, found));
        }
      }
      const space = await dataVolume.space();
      return {
        throttleTimeMs: 0,
        results: [
          {
            errorCode: errorCodes.NONE,
            logDir: dataVolume.path,
            topics: described,
            totalBytes: space?.totalBytes ?? -1,
            usableBytes: space?.usableBytes ?? -1,
          },
        ],
      };
    },
    fail: (_request, errorCode) => ({
      throttleTimeMs: 0,
      errorCode,
      results: [{ errorCode, logDir: dataVolume.path, topics: [] }],
    }),
  });
}
