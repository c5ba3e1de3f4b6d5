/**
 * DescribeQuorum, versions 0 to 2 (KIP-595): who keeps the metadata, and how far each has come. This node alone does, and leads;
 * the offset is the number of its changes to the metadata.
 *
 * 1: when each was last heard of (KIP-836). 2: error messages, directory ids, addresses (KIP-853).
 */

import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type DescribeQuorumRequest,
  type DescribeQuorumResponseInput,
  describeQuorumRequest,
  describeQuorumResponse,
} from '../../protocol/generated/55-describe-quorum.ts';
import type { ListenerInfo } from './handler.ts';
import { type AnyHandler, defineHandler } from './handler.ts';
import type { Services } from './services.ts';

const metadataTopic = '__cluster_metadata';
const metadataPartition = 0;

const notHosted = 'This server does not host this topic-partition.';

const firstVersionWithNodes = 2;

export function describeQuorumHandler({
  clock,
  engine,
  nodeId,
}: Pick<Services, 'clock' | 'engine' | 'nodeId'>): AnyHandler {
  function described(version: number, listener: ListenerInfo): DescribeQuorumResponseInput {
    const nowMs = clock.nowMs();
    const logEndOffset = engine.catalogue.version;
    const self = {
      replicaId: nodeId,
      logEndOffset,
      lastFetchTimestamp: nowMs,
      lastCaughtUpTimestamp: nowMs,
    };
    const { advertisedHost: host, advertisedPort: port, name } = listener;
    return {
      errorCode: errorCodes.NONE,
      errorMessage: '',
      topics: [
        {
          topicName: metadataTopic,
          partitions: [
            {
              partitionIndex: metadataPartition,
              errorCode: errorCodes.NONE,
              errorMessage: '',
              leaderId: nodeId,
              leaderEpoch: engine.epoch,
              highWatermark: logEndOffset,
              currentVoters: [self],
              observers: [],
            },
          ],
        },
      ],
      ...(version >= firstVersionWithNodes ? { nodes: [{ nodeId, listeners: [{ name, host, port }] }] } : {}),
    };
  }

  return defineHandler<DescribeQuorumRequest, DescribeQuorumResponseInput>({
    apiKey: 55,
    minVersion: 0,
    maxVersion: 2,
    request: describeQuorumRequest,
    response: describeQuorumResponse,
    handle(request, { apiVersion, connection }) {
      // As in Kafka, the metadata and nothing else may be asked for.
      const [topic, ...more] = request.topics;
      const [partition, ...others] = topic?.partitions ?? [];
      const isMetadata =
        topic?.topicName === metadataTopic && partition?.partitionIndex === metadataPartition;
      if (isMetadata && more.length === 0 && others.length === 0) {
        return described(apiVersion, connection.listener);
      }
      return refused(request, errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
    },
    fail: (_request, errorCode) => ({ errorCode, topics: [] }),
  });
}

function refused({ topics }: DescribeQuorumRequest, errorCode: number): DescribeQuorumResponseInput {
  return {
    errorCode: errorCodes.NONE,
    topics: topics.map(({ topicName, partitions }) => ({
      topicName,
      partitions: partitions.map(({ partitionIndex }) => ({
        partitionIndex,
        errorCode,
        errorMessage: notHosted,
        leaderId: 0,
        leaderEpoch: 0,
        highWatermark: 0,
        currentVoters: [],
        observers: [],
      })),
    })),
  };
}
