/** The group handlers on the memory engine, called through their codecs: what a client sends and what it reads, in any version. */
import { randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import { apiByKey } from '../../../protocol/generated/apis.ts';
import { encodeToBuffer, type MessageCodec } from '../../../protocol/message-codec.ts';
import { isBatchIntact, isBatchStamped, stampBatch } from '../../../protocol/records/record-batch.ts';
import { ByteReader } from '../../../protocol/wire/byte-reader.ts';
import { offsetCommitHandler } from '../../../src/handlers/08-offset-commit.ts';
import { offsetFetchHandler } from '../../../src/handlers/09-offset-fetch.ts';
import { findCoordinatorHandler } from '../../../src/handlers/10-find-coordinator.ts';
import { joinGroupHandler } from '../../../src/handlers/11-join-group.ts';
import { heartbeatHandler } from '../../../src/handlers/12-heartbeat.ts';
import { leaveGroupHandler } from '../../../src/handlers/13-leave-group.ts';
import { syncGroupHandler } from '../../../src/handlers/14-sync-group.ts';
import { describeGroupsHandler } from '../../../src/handlers/15-describe-groups.ts';
import { listGroupsHandler } from '../../../src/handlers/16-list-groups.ts';
import { deleteGroupsHandler } from '../../../src/handlers/42-delete-groups.ts';
import { offsetDeleteHandler } from '../../../src/handlers/47-offset-delete.ts';
import { consumerGroupHeartbeatHandler } from '../../../src/handlers/68-consumer-group-heartbeat.ts';
import { consumerGroupDescribeHandler } from '../../../src/handlers/69-consumer-group-describe.ts';
import type { AnyHandler, ClientConnection, RequestContext } from '../../../src/handlers/handler.ts';
import { BrokerConfig } from '../../../src/services/configuration/broker-config.ts';
import { FeatureLevels } from '../../../src/services/configuration/feature-levels.ts';
import { GroupConfigs } from '../../../src/services/configuration/group-configs.ts';
import { GroupCoordinator } from '../../../src/services/groups/group-coordinator.ts';
import { groupSettingsFrom } from '../../../src/services/groups/group-settings.ts';
import type { Topic } from '../../../src/services/topics/topic.ts';
import { TopicCatalogue } from '../../../src/services/topics/topic-catalogue.ts';
import type { StorageEngine } from '../../../src/storage/engine.ts';
import { openMemoryEngine } from '../../../src/storage/memory/memory-engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { silentLog } from '../../../src/util/log.ts';

/** A decoded answer: tests look into it as they like. */
// biome-ignore lint/suspicious/noExplicitAny: the answer of any API in any version
export type Answer = any;

export class GroupBroker {
  readonly clock: VirtualClock;
  readonly engine: StorageEngine;
  readonly topics: TopicCatalogue;
  readonly groups: GroupCoordinator;
  readonly groupConfigs: GroupConfigs;
  readonly featureLevels: FeatureLevels;
  readonly handlers: ReadonlyMap<number, AnyHandler>;
  readonly #config: BrokerConfig;

  constructor(settings: Readonly<Record<string, string>> = {}, before?: GroupBroker) {
    this.clock = before?.clock ?? new VirtualClock();
    this.engine =
      before?.engine ??
      openMemoryEngine({
        payloadFormat: { stamp: stampBatch, isStamped: isBatchStamped, isIntact: isBatchIntact },
        clock: this.clock,
      });
    this.#config =
      before === undefined ? new BrokerConfig(new Map(Object.entries(settings))) : before.#config;
    this.topics = new TopicCatalogue({ catalogue: this.engine.catalogue, config: this.#config, randomBytes });
    this.groupConfigs = new GroupConfigs(this.engine.catalogue, this.#config);
    this.featureLevels = new FeatureLevels(this.engine.catalogue, 1);
    this.groups = new GroupCoordinator({
      engine: this.engine,
      directory: this.topics,
      clock: this.clock,
      log: silentLog,
      settings: groupSettingsFrom(this.#config, this.groupConfigs),
    });
    const transactions = { ensureTopic: () => this.topics.ensureInternal('__transaction_state') };
    const services = {
      topics: this.topics,
      groups: this.groups,
      transactions,
      featureLevels: this.featureLevels,
      config: this.#config,
      nodeId: 1,
      log: silentLog,
    };
    this.handlers = new Map(
      [
        offsetCommitHandler,
        offsetFetchHandler,
        findCoordinatorHandler,
        joinGroupHandler,
        heartbeatHandler,
        leaveGroupHandler,
        syncGroupHandler,
        describeGroupsHandler,
        listGroupsHandler,
        deleteGroupsHandler,
        offsetDeleteHandler,
        consumerGroupHeartbeatHandler,
        consumerGroupDescribeHandler,
      ].map((build) => {
        const handler = build(services);
        return [handler.apiKey, handler];
      }),
    );
  }

  /** The next broker on the same data. */
  async restart(): Promise<GroupBroker> {
    await this.groups.close();
    this.topics.close();
    return new GroupBroker({}, this);
  }

  async createTopic(name: string, partitions = 2): Promise<Topic> {
    const [outcome] = await this.topics.create(
      [{ name, partitions, replicationFactor: 1, assignments: [], overrides: new Map() }],
      false,
    );
    expect(outcome).toHaveProperty('topic');
    return (outcome as { topic: Topic }).topic;
  }

  /** Sends a request, which may lack fields of other versions. Time moves until it is answered. */
  async call(apiKey: number, version: number, request: object, clientId = 'client'): Promise<Answer> {
    const answer = this.send(apiKey, version, request, clientId);
    await this.clock.advance(0);
    return answer;
  }

  /** Sends a request that may wait. */
  async send(
    apiKey: number,
    version: number,
    request: object,
    clientId: string | null = 'client',
  ): Promise<Answer> {
    const api = apiByKey(apiKey)!;
    const handler = this.handlers.get(apiKey)!;
    expect(version).toBeGreaterThanOrEqual(handler.minVersion);
    expect(version).toBeLessThanOrEqual(handler.maxVersion);
    const requestCodec = api.request as MessageCodec<unknown, object>;
    const bytes = encodeToBuffer(requestCodec, request, version);
    const context = contextOf(apiKey, version, clientId);
    const result = await handler.handle(handler.request.decode(new ByteReader(bytes), version), context);
    const responseCodec = api.response as MessageCodec<unknown, object>;
    return responseCodec.decode(
      new ByteReader(encodeToBuffer(responseCodec, result as object, version)),
      version,
    );
  }
}

function contextOf(apiKey: number, apiVersion: number, clientId: string | null): RequestContext {
  const connection: ClientConnection = {
    id: 1,
    listener: {
      name: 'PLAINTEXT',
      securityProtocol: 'PLAINTEXT',
      advertisedHost: 'broker.example',
      advertisedPort: 9092,
    },
    remoteAddress: '::ffff:10.1.2.3',
    remotePort: 50_000,
    clientSoftwareName: undefined,
    clientSoftwareVersion: undefined,
    principal: 'User:ANONYMOUS',
    closed: new AbortController().signal,
  };
  return {
    apiKey,
    apiVersion,
    correlationId: 1,
    clientId,
    connection,
    afterSent: () => {},
    throttle: () => {},
  };
}
