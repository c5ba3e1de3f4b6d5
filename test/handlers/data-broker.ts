/**
 * The data handlers on the memory engine with a virtual clock, spoken to in bytes: every request and answer goes through the codec
 * in the version asked for.
 */
import { EventEmitter } from 'node:events';
import type {
  ProduceResponse,
  ProduceResponsePartitionProduceResponse,
} from '../../protocol/generated/00-produce.ts';
import type { FetchResponse } from '../../protocol/generated/01-fetch.ts';
import type { ListOffsetsResponse } from '../../protocol/generated/02-list-offsets.ts';
import { apiByKey } from '../../protocol/generated/apis.ts';
import { encodeToBuffer, type MessageCodec } from '../../protocol/message-codec.ts';
import { isBatchIntact, isBatchStamped, stampBatch } from '../../protocol/records/record-batch.ts';
import {
  type BatchOptions,
  buildRecordBatch,
  type RecordInput,
} from '../../protocol/records/record-batch-builder.ts';
import { ByteReader } from '../../protocol/wire/byte-reader.ts';
import { produceHandler } from '../../src/handlers/00-produce.ts';
import { fetchHandler } from '../../src/handlers/01-fetch.ts';
import { listOffsetsHandler } from '../../src/handlers/02-list-offsets.ts';
import { offsetFetchHandler } from '../../src/handlers/09-offset-fetch.ts';
import { initProducerIdHandler } from '../../src/handlers/22-init-producer-id.ts';
import { offsetForLeaderEpochHandler } from '../../src/handlers/23-offset-for-leader-epoch.ts';
import { addPartitionsToTxnHandler } from '../../src/handlers/24-add-partitions-to-txn.ts';
import { addOffsetsToTxnHandler } from '../../src/handlers/25-add-offsets-to-txn.ts';
import { endTxnHandler } from '../../src/handlers/26-end-txn.ts';
import { writeTxnMarkersHandler } from '../../src/handlers/27-write-txn-markers.ts';
import { txnOffsetCommitHandler } from '../../src/handlers/28-txn-offset-commit.ts';
import { describeProducersHandler } from '../../src/handlers/61-describe-producers.ts';
import { describeTransactionsHandler } from '../../src/handlers/65-describe-transactions.ts';
import { listTransactionsHandler } from '../../src/handlers/66-list-transactions.ts';
import {
  type AnyHandler,
  CloseConnection,
  NO_ANSWER,
  type RequestContext,
} from '../../src/handlers/handler.ts';
import {
  AppendService,
  type AppendServiceOptions,
  type AppendSettings,
} from '../../src/services/append/append-service.ts';
import { BrokerConfig } from '../../src/services/configuration/broker-config.ts';
import { GroupConfigs } from '../../src/services/configuration/group-configs.ts';
import {
  defaultFetchSettings,
  FetchService,
  type FetchServiceOptions,
  type FetchSettings,
} from '../../src/services/fetch/fetch-service.ts';
import { GroupCoordinator } from '../../src/services/groups/group-coordinator.ts';
import { groupSettingsFrom } from '../../src/services/groups/group-settings.ts';
import { ProducerIds } from '../../src/services/producers/producer-ids.ts';
import { HeldRecords } from '../../src/services/transactions/held-records.ts';
import { OpenTransactions } from '../../src/services/transactions/open-transactions.ts';
import { TransactionCoordinator } from '../../src/services/transactions/transaction-coordinator.ts';
import { transactionSettingsFrom } from '../../src/services/transactions/transaction-settings.ts';
import type { ReadResult, StorageEngine } from '../../src/storage/engine.ts';
import { openMemoryEngine } from '../../src/storage/memory/memory-engine.ts';
import { VirtualClock } from '../../src/util/clock.ts';
import { silentLog } from '../../src/util/log.ts';
import { FakeTopicDirectory } from '../fakes/topic-directory.ts';

export type EngineOverride = (engine: StorageEngine) => Partial<StorageEngine>;

export interface DataBrokerOptions {
  readonly fetchSettings?: Partial<FetchSettings>;
  readonly appendSettings?: AppendSettings;
  readonly append?: Partial<AppendServiceOptions>;
  readonly fetch?: Partial<FetchServiceOptions>;
  /** Stands in for parts of the engine. */
  readonly override?: EngineOverride;
  readonly stampOffsets?: boolean;
  /** Broker settings by name. */
  readonly settings?: Readonly<Record<string, string>>;
  /** A broker that ended, whose engine and topics this one goes on with. */
  readonly before?: DataBroker;
}

export class DataBroker {
  readonly clock: VirtualClock;
  readonly engine: StorageEngine;
  readonly groups: GroupCoordinator;
  readonly open: OpenTransactions;
  readonly transactions: TransactionCoordinator;
  readonly topics: FakeTopicDirectory;
  readonly appends: AppendService;
  readonly fetches: FetchService;
  readonly connection = new FakeConnection();
  /** Buffers lent to answers and not given back. */
  lent = 0;
  /** Calls of the engine by name. */
  readonly calls = new Map<string, number>();
  private readonly handlers: readonly AnyHandler[];

  constructor(options: DataBrokerOptions = {}) {
    const { before } = options;
    const clock = before?.clock ?? new VirtualClock();
    this.clock = clock;
    const payloadFormat = { stamp: stampBatch, isStamped: isBatchStamped, isIntact: isBatchIntact };
    const engine =
      before?.engine ??
      openMemoryEngine({ payloadFormat, clock, stampOffsets: options.stampOffsets ?? true });
    this.engine = this.observed(engine, options.override);
    this.topics = before?.topics ?? new FakeTopicDirectory(this.engine);
    const { topics } = this;
    const config = new BrokerConfig(new Map(Object.entries(options.settings ?? {})));
    const producerIds = new ProducerIds(this.engine.catalogue);
    this.groups = new GroupCoordinator({
      engine: this.engine,
      directory: topics,
      // Of its own: what groups wait for is no concern here.
      clock: new VirtualClock(),
      log: silentLog,
      settings: groupSettingsFrom(config, new GroupConfigs(this.engine.catalogue, config)),
    });
    const settings = transactionSettingsFrom(config);
    this.open = new OpenTransactions({ engine: this.engine, clock, limits: settings });
    this.transactions = new TransactionCoordinator({
      engine: this.engine,
      directory: topics,
      clock,
      log: silentLog,
      settings,
      producerIds,
      groups: this.groups,
      open: this.open,
      held: new HeldRecords({ engine: this.engine }),
    });
    this.appends = new AppendService({
      engine: this.engine,
      topics,
      clock,
      settings: options.appendSettings ?? { flushPolicy: 'acks' },
      transactions: this.transactions,
      ...options.append,
    });
    this.fetches = new FetchService({
      engine: this.engine,
      topics,
      clock,
      log: silentLog,
      settings: { ...defaultFetchSettings, ...options.fetchSettings },
      stableOffsets: this.open,
      ...options.fetch,
    });
    const services = {
      engine: this.engine,
      topics,
      appends: this.appends,
      fetches: this.fetches,
      producerIds,
      groups: this.groups,
      transactions: this.transactions,
      log: silentLog,
    };
    this.handlers = [
      produceHandler(services),
      fetchHandler(services),
      listOffsetsHandler(services),
      initProducerIdHandler(services),
      offsetForLeaderEpochHandler(services),
      offsetFetchHandler(services),
      addPartitionsToTxnHandler(services),
      addOffsetsToTxnHandler(services),
      endTxnHandler(services),
      writeTxnMarkersHandler(services),
      txnOffsetCommitHandler(services),
      describeProducersHandler(services),
      describeTransactionsHandler(services),
      listTransactionsHandler(services),
    ];
  }

  /** The engine with what a test puts in its place; counts its calls, and what is read and released. */
  private observed(engine: StorageEngine, override: EngineOverride | undefined): StorageEngine {
    const { calls } = this;
    const overrides = override?.(engine) ?? {};
    const lend = (result: ReadResult): ReadResult => {
      if (result.outcome !== 'read') return result;
      this.lent++;
      let released = false;
      const release = () => {
        if (released) throw new Error('released twice');
        released = true;
        this.lent--;
        result.release();
      };
      return { ...result, release };
    };
    return new Proxy({} as StorageEngine, {
      get(_, name) {
        const owner = name in overrides ? overrides : engine;
        const value = Reflect.get(owner, name);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => {
          calls.set(String(name), (calls.get(String(name)) ?? 0) + 1);
          const result = value.apply(owner, args);
          if (name !== 'read') return result;
          return result instanceof Promise ? result.then(lend) : lend(result);
        };
      },
    });
  }

  /** The answer, decoded; `undefined` where there is none, a CloseConnection where the connection ends. */
  async call<Response>(
    apiKey: number,
    version: number,
    request: unknown,
    connection = this.connection,
  ): Promise<Response> {
    const handler = this.handlers.find((one) => one.apiKey === apiKey)!;
    const api = apiByKey(apiKey)!;
    const bytes = encodeToBuffer(api.request as MessageCodec<unknown, unknown>, request, version);
    const decoded = handler.request.decode(new ByteReader(bytes), version);
    const releases: (() => void)[] = [];
    const context: RequestContext = {
      apiKey,
      apiVersion: version,
      correlationId: 1,
      clientId: 'test',
      connection,
      afterSent: (release) => releases.push(release),
      throttle: () => {},
    };
    const handled = handler.handle(decoded, context);
    // The frame's memory is used again as soon as the handler returns.
    bytes.fill(0xee);
    const result = await handled;
    if (result === NO_ANSWER) return undefined as Response;
    if (result instanceof CloseConnection) return result as Response;
    const answer = encodeToBuffer(api.response as MessageCodec<unknown, unknown>, result, version);
    for (const release of releases) release();
    return api.response.decode(new ByteReader(answer), version) as Response;
  }

  async produce(
    topic: string,
    records: Buffer | null,
    options: { version?: number; index?: number; acks?: number; transactionalId?: string } = {},
  ): Promise<ProduceResponsePartitionProduceResponse> {
    const { version = 8, index = 0, acks = -1, transactionalId = null } = options;
    const response = await this.call<ProduceResponse>(0, version, {
      transactionalId: version >= 3 ? transactionalId : null,
      acks,
      timeoutMs: 1000,
      topicData: [
        {
          name: topic,
          topicId: this.topics.get(topic)?.id ?? unknownTopicId,
          partitionData: [{ index, records }],
        },
      ],
    });
    return response.responses[0]!.partitionResponses[0]!;
  }

  fetch(request: FetchInput, version = 11, connection = this.connection): Promise<FetchResponse> {
    const { topics, ...rest } = request;
    return this.call(
      1,
      version,
      {
        maxWaitMs: 0,
        minBytes: 1,
        maxBytes: 1_000_000,
        ...rest,
        topics: topics.map(({ topic, partitions }) => ({
          topic,
          topicId: this.topics.get(topic)?.id ?? unknownTopicId,
          partitions: partitions.map((partition) => ({ partitionMaxBytes: 1_000_000, ...partition })),
        })),
      },
      connection,
    );
  }

  listOffsets(topic: string, timestamp: number | bigint, version = 7, extra: object = {}) {
    return this.call<ListOffsetsResponse>(2, version, {
      replicaId: -1,
      isolationLevel: 0,
      topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp, ...extra }] }],
    }).then((response) => response.topics[0]!.partitions[0]!);
  }
}

export interface FetchInput {
  readonly maxWaitMs?: number;
  readonly minBytes?: number;
  readonly maxBytes?: number;
  readonly isolationLevel?: number;
  readonly sessionId?: number;
  readonly sessionEpoch?: number;
  readonly topics: readonly {
    readonly topic: string;
    readonly partitions: readonly {
      readonly partition: number;
      readonly fetchOffset: number | bigint;
      readonly partitionMaxBytes?: number;
      readonly currentLeaderEpoch?: number;
      readonly lastFetchedEpoch?: number;
    }[];
  }[];
  readonly forgottenTopicsData?: readonly {
    readonly topic: string;
    readonly topicId?: string;
    readonly partitions: readonly number[];
  }[];
}

export const unknownTopicId = 'AAAAAAAAAAAAAAAAAAAABA';

export class FakeConnection extends EventEmitter {
  readonly id = 1;
  readonly listener = {
    name: 'PLAINTEXT',
    securityProtocol: 'PLAINTEXT',
    advertisedHost: 'localhost',
    advertisedPort: 9092,
  };
  readonly remoteAddress = '127.0.0.1';
  readonly remotePort = 1;
  clientSoftwareName = undefined;
  clientSoftwareVersion = undefined;
  principal = 'User:ANONYMOUS';
  private readonly controller = new AbortController();
  get closed(): AbortSignal {
    return this.controller.signal;
  }
  close(): void {
    this.controller.abort();
  }
}

/** `count` records with keys and values, as one batch. */
export function batchOf(
  count: number,
  options: BatchOptions & { timestamp?: number; valueBytes?: number } = {},
): Buffer {
  return buildRecordBatch(recordsOf(count, options.timestamp, options.valueBytes), options);
}

export function recordsOf(count: number, timestamp = 1_700_000_000_000, valueBytes = 2): RecordInput[] {
  return Array.from({ length: count }, (_, index) => ({
    timestamp,
    key: Buffer.from(`k${index}`),
    value: Buffer.alloc(valueBytes, 0x61 + (index % 26)),
  }));
}
