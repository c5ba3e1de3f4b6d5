/** What the fault tests ask of a broker, by Kafka's protocol. Answers error codes; never throws for what the broker refuses. */

import { produceRequest, produceResponse } from '../../protocol/generated/00-produce.ts';
import { fetchRequest, fetchResponse } from '../../protocol/generated/01-fetch.ts';
import { listOffsetsRequest, listOffsetsResponse } from '../../protocol/generated/02-list-offsets.ts';
import { metadataRequest, metadataResponse } from '../../protocol/generated/03-metadata.ts';
import { offsetCommitRequest, offsetCommitResponse } from '../../protocol/generated/08-offset-commit.ts';
import { createTopicsRequest, createTopicsResponse } from '../../protocol/generated/19-create-topics.ts';
import { deleteTopicsRequest, deleteTopicsResponse } from '../../protocol/generated/20-delete-topics.ts';
import { deleteRecordsRequest, deleteRecordsResponse } from '../../protocol/generated/21-delete-records.ts';
import {
  incrementalAlterConfigsRequest,
  incrementalAlterConfigsResponse,
} from '../../protocol/generated/44-incremental-alter-configs.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import { WireClient } from '../crash/wire-client.ts';

const topicResource = 2;
const set = 0;

export class BrokerClient {
  private readonly wire: WireClient;

  private constructor(wire: WireClient) {
    this.wire = wire;
  }

  static async connect(port: number): Promise<BrokerClient> {
    return new BrokerClient(await WireClient.connect(port, 'fault-test'));
  }

  close(): void {
    this.wire.close();
  }

  /** One record of that size. Answers the error code and the base offset. */
  async produce(
    topic: string,
    sizeBytes: number,
    key: string | null = null,
  ): Promise<{ errorCode: number; offset: number }> {
    const value = Buffer.alloc(sizeBytes, topic);
    const records = buildRecordBatch(
      [{ timestamp: Date.now(), key: key === null ? null : Buffer.from(key), value }],
      { baseOffset: 0 },
    );
    const answer = await this.wire.request(produceRequest, produceResponse, 7, {
      acks: -1,
      timeoutMs: 30_000,
      topicData: [{ name: topic, partitionData: [{ index: 0, records }] }],
    });
    const [partition] = answer.responses[0]!.partitionResponses;
    return { errorCode: partition!.errorCode, offset: Number(partition!.baseOffset) };
  }

  /** Bytes of records from the offset on, without waiting for any. */
  async fetch(topic: string, offset: number): Promise<{ errorCode: number; sizeBytes: number }> {
    const answer = await this.wire.request(fetchRequest, fetchResponse, 7, {
      replicaId: -1,
      maxWaitMs: 0,
      minBytes: 0,
      maxBytes: 10_000_000,
      isolationLevel: 0,
      sessionId: 0,
      sessionEpoch: -1,
      topics: [{ topic, partitions: [{ partition: 0, fetchOffset: offset, partitionMaxBytes: 2_000_000 }] }],
      forgottenTopicsData: [],
    });
    const partition = answer.responses[0]!.partitions[0]!;
    return { errorCode: partition.errorCode, sizeBytes: partition.records?.length ?? 0 };
  }

  async endOffset(topic: string): Promise<number> {
    const answer = await this.wire.request(listOffsetsRequest, listOffsetsResponse, 2, {
      replicaId: -1,
      isolationLevel: 0,
      topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp: -1 }] }],
    });
    return Number(answer.topics[0]!.partitions[0]!.offset);
  }

  async topics(): Promise<readonly string[]> {
    const answer = await this.wire.request(metadataRequest, metadataResponse, 4, {
      topics: null,
      allowAutoTopicCreation: false,
    });
    return answer.topics.map(({ name }) => name ?? '');
  }

  async commit(group: string, topic: string, offset: number): Promise<number> {
    const answer = await this.wire.request(offsetCommitRequest, offsetCommitResponse, 7, {
      groupId: group,
      generationIdOrMemberEpoch: -1,
      memberId: '',
      topics: [
        { name: topic, partitions: [{ partitionIndex: 0, committedOffset: offset, committedMetadata: '' }] },
      ],
    });
    return answer.topics[0]!.partitions[0]!.errorCode;
  }

  async createTopic(name: string): Promise<number> {
    const answer = await this.wire.request(createTopicsRequest, createTopicsResponse, 4, {
      topics: [{ name, numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] }],
      timeoutMs: 10_000,
    });
    return answer.topics[0]!.errorCode;
  }

  async deleteTopic(name: string): Promise<number> {
    const answer = await this.wire.request(deleteTopicsRequest, deleteTopicsResponse, 3, {
      topicNames: [name],
      timeoutMs: 10_000,
    });
    return answer.responses[0]!.errorCode;
  }

  async deleteRecords(topic: string, offset: number): Promise<number> {
    const answer = await this.wire.request(deleteRecordsRequest, deleteRecordsResponse, 1, {
      topics: [{ name: topic, partitions: [{ partitionIndex: 0, offset }] }],
      timeoutMs: 10_000,
    });
    return answer.topics[0]!.partitions[0]!.errorCode;
  }

  async setTopic(topic: string, name: string, value: string): Promise<number> {
    const answer = await this.wire.request(
      incrementalAlterConfigsRequest,
      incrementalAlterConfigsResponse,
      0,
      {
        resources: [
          {
            resourceType: topicResource,
            resourceName: topic,
            configs: [{ name, configOperation: set, value }],
          },
        ],
        validateOnly: false,
      },
    );
    return answer.responses[0]!.errorCode;
  }
}
