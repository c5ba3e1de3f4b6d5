/**
 * The metadata and admin handlers on the memory engine, spoken to in bytes: every request and answer goes through the codec in the
 * version asked for.
 */
import { createHash } from 'node:crypto';
import { apiByKey } from '../../protocol/generated/apis.ts';
import { encodeToBuffer } from '../../protocol/message-codec.ts';
import { isBatchIntact, isBatchStamped, stampBatch } from '../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import { ByteReader } from '../../protocol/wire/byte-reader.ts';
import { metadataHandler } from '../../src/handlers/03-metadata.ts';
import { createTopicsHandler } from '../../src/handlers/19-create-topics.ts';
import { deleteTopicsHandler } from '../../src/handlers/20-delete-topics.ts';
import { deleteRecordsHandler } from '../../src/handlers/21-delete-records.ts';
import { describeConfigsHandler } from '../../src/handlers/32-describe-configs.ts';
import { alterConfigsHandler } from '../../src/handlers/33-alter-configs.ts';
import { describeLogDirsHandler } from '../../src/handlers/35-describe-log-dirs.ts';
import { createPartitionsHandler } from '../../src/handlers/37-create-partitions.ts';
import { incrementalAlterConfigsHandler } from '../../src/handlers/44-incremental-alter-configs.ts';
import { describeClusterHandler } from '../../src/handlers/60-describe-cluster.ts';
import { listConfigResourcesHandler } from '../../src/handlers/74-list-config-resources.ts';
import { describeTopicPartitionsHandler } from '../../src/handlers/75-describe-topic-partitions.ts';
import type { AnyHandler, ListenerInfo, RequestContext } from '../../src/handlers/handler.ts';
import { Subscriptions } from '../../src/services/client-metrics/subscriptions.ts';
import { BrokerConfig } from '../../src/services/configuration/broker-config.ts';
import { DynamicBrokerConfig } from '../../src/services/configuration/dynamic-broker-config.ts';
import { GroupConfigs } from '../../src/services/configuration/group-configs.ts';
import { TopicCatalogue } from '../../src/services/topics/topic-catalogue.ts';
import type { StorageEngine } from '../../src/storage/engine.ts';
import { openMemoryEngine } from '../../src/storage/memory/memory-engine.ts';
import { silentLog } from '../../src/util/log.ts';

export const plainListener: ListenerInfo = {
  name: 'PLAINTEXT',
  securityProtocol: 'PLAINTEXT',
  advertisedHost: '127.0.0.1',
  advertisedPort: 19192,
};

/** Random bytes that are the same in every run. */
export function seededBytes(seed = 'topics'): (sizeBytes: number) => Buffer {
  let turn = 0;
  return (sizeBytes) => createHash('sha512').update(`${seed}/${turn++}`).digest().subarray(0, sizeBytes);
}

export function memoryEngine(): StorageEngine {
  return openMemoryEngine({
    payloadFormat: {
      stamp: stampBatch,
      isStamped: isBatchStamped,
      isIntact: isBatchIntact,
    },
  });
}

export class AdminBroker {
  readonly engine: StorageEngine;
  readonly config: BrokerConfig;
  readonly topics: TopicCatalogue;
  readonly handlers: readonly AnyHandler[];

  constructor(settings: Readonly<Record<string, string>> = {}, engine = memoryEngine()) {
    this.engine = engine;
    this.config = new BrokerConfig(new Map(Object.entries(settings)));
    const dynamicConfig = new DynamicBrokerConfig(engine.catalogue, this.config);
    this.topics = new TopicCatalogue({
      catalogue: engine.catalogue,
      config: this.config,
      randomBytes: seededBytes(),
    });
    const services = {
      engine,
      config: this.config,
      dynamicConfig,
      clientMetrics: { subscriptions: new Subscriptions(engine.catalogue) },
      groupConfigs: new GroupConfigs(engine.catalogue, this.config),
      log: silentLog,
      topics: this.topics,
      dataVolume: { path: '/data', space: async () => ({ totalBytes: 2000, usableBytes: 1000 }) },
    };
    this.handlers = [
      metadataHandler(services),
      createTopicsHandler(services),
      deleteTopicsHandler(services),
      deleteRecordsHandler(services),
      describeConfigsHandler(services),
      alterConfigsHandler(services),
      describeLogDirsHandler(services),
      createPartitionsHandler(services),
      incrementalAlterConfigsHandler(services),
      describeClusterHandler(services),
      listConfigResourcesHandler(services),
      describeTopicPartitionsHandler(services),
    ];
  }

  /** The answer as a client decodes it. */
  async call<Response>(
    apiKey: number,
    apiVersion: number,
    request: unknown,
    listener = plainListener,
  ): Promise<Response> {
    const api = apiByKey(apiKey)!;
    const handler = this.handlers.find((each) => each.apiKey === apiKey)!;
    const bytes = encodeToBuffer(api.request, request, apiVersion);
    const context = {
      apiKey,
      apiVersion,
      connection: { listener },
      throttle: () => {},
    } as unknown as RequestContext;
    const answer = await handler.handle(handler.request.decode(new ByteReader(bytes), apiVersion), context);
    return api.response.decode(
      new ByteReader(encodeToBuffer(api.response, answer, apiVersion)),
      apiVersion,
    ) as Response;
  }

  /** Puts records into a partition past all handlers. */
  async append(topic: string, partition: number, count: number): Promise<void> {
    const records = Array.from({ length: count }, (_none, at) => ({ value: Buffer.from(`record ${at}`) }));
    const [result] = await this.engine.append({
      durability: 'sync',
      entries: [
        {
          queue: this.topics.get(topic)!.partitions[partition]!.queue,
          kind: 'data',
          count,
          maxTimestampMs: 0,
          payload: buildRecordBatch(records),
        },
      ],
    });
    if (result?.outcome !== 'appended') throw new Error(`append: ${result?.outcome}`);
  }
}
