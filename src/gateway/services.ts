/** Builds the services on an open engine, each with what it may know of the others; and closes them in the other order. */

import { randomBytes } from 'node:crypto';
import { statfs } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { StartConfig } from '../config.ts';
import type { DataVolume, Services } from '../handlers/services.ts';
import { AppendRoom } from '../services/append/append-room.ts';
import { AppendService, type AppendSettings } from '../services/append/append-service.ts';
import { ClientMetrics } from '../services/client-metrics/client-metrics.ts';
import type { BrokerConfig } from '../services/configuration/broker-config.ts';
import { DynamicBrokerConfig } from '../services/configuration/dynamic-broker-config.ts';
import { FeatureLevels } from '../services/configuration/feature-levels.ts';
import { GroupConfigs } from '../services/configuration/group-configs.ts';
import { Features, type HiddenQueues } from '../services/features/features.ts';
import { defaultFetchSettings, FetchService, type FetchSettings } from '../services/fetch/fetch-service.ts';
import { GroupCoordinator } from '../services/groups/group-coordinator.ts';
import { groupSettingsFrom, shareMemberSettingsFrom } from '../services/groups/group-settings.ts';
import { ProducerIds } from '../services/producers/producer-ids.ts';
import { ClientQuotas } from '../services/quotas/client-quotas.ts';
import { type QuotaSettings, Quotas } from '../services/quotas/quotas.ts';
import { ShareCoordinator } from '../services/share/share-coordinator.ts';
import { ShareFetches } from '../services/share/share-fetches.ts';
import { ShareOffsets } from '../services/share/share-offsets.ts';
import { ShareRetries } from '../services/share/share-retries.ts';
import { shareSettingsFrom } from '../services/share/share-settings.ts';
import { TopicCatalogue } from '../services/topics/topic-catalogue.ts';
import { HeldRecords } from '../services/transactions/held-records.ts';
import { OpenTransactions } from '../services/transactions/open-transactions.ts';
import { TransactionCoordinator } from '../services/transactions/transaction-coordinator.ts';
import { transactionSettingsFrom } from '../services/transactions/transaction-settings.ts';
import type { StorageEngine } from '../storage/engine.ts';
import type { GatewayOptions } from './options.ts';

export interface BuiltServices extends Services {
  readonly features: Features;
  readonly openTransactions: OpenTransactions;
  readonly shareRetries: ShareRetries;
}

export function buildServices(
  options: GatewayOptions,
  engine: StorageEngine,
  queues: HiddenQueues,
): BuiltServices {
  const { clock, log } = options;
  const config = options.config.broker;
  const dynamicConfig = new DynamicBrokerConfig(engine.catalogue, config);
  const groupConfigs = new GroupConfigs(engine.catalogue, config);
  let features: Features | undefined;
  const topics = new TopicCatalogue({
    catalogue: engine.catalogue,
    config,
    randomBytes,
    settingsByName: (name, get) => features?.settingsByName(name, get) ?? new Map(),
  });
  const shareSettings = shareSettingsFrom(config, groupConfigs);
  const shareCoordinator = new ShareCoordinator({
    engine,
    directory: topics,
    clock,
    log,
    settings: shareSettings,
  });
  const groups = new GroupCoordinator({
    engine,
    directory: topics,
    clock,
    log,
    settings: groupSettingsFrom(config, groupConfigs),
    shareSettings: shareMemberSettingsFrom(config, groupConfigs),
    forgetShareState: (groupId) => shareCoordinator.forget(groupId, undefined),
  });
  const held = new HeldRecords({ engine });
  features = new Features({ engine, queues, topics, groups, groupConfigs, config, held, clock, log });
  const shareRetries = new ShareRetries({
    engine,
    topics,
    timers: features.timers,
    deadLetters: features.deadLetters,
    coordinator: shareCoordinator,
    settings: shareSettings,
    clock,
    log: log.component('share'),
  });
  const producerIds = new ProducerIds(engine.catalogue);
  const transactionSettings = transactionSettingsFrom(config);
  const openTransactions = new OpenTransactions({ engine, clock, limits: transactionSettings });
  const transactions = new TransactionCoordinator({
    engine,
    directory: topics,
    clock,
    log,
    settings: transactionSettings,
    producerIds,
    groups,
    open: openTransactions,
    held,
    questions: features.half.transactions,
  });
  features.half.transactions.bind((asked, isCommit) => transactions.endAsked(asked, isCommit));
  const appends = new AppendService({
    engine,
    topics,
    clock,
    settings: appendSettings(config),
    transactions,
    steps: features.steps,
    room: new AppendRoom({
      engine,
      clock,
      log: log.component('append'),
      longestWaitMs: () => config.int('rmq.commitlog.room.wait.max.ms'),
    }),
  });
  const fetches = new FetchService({
    engine,
    topics,
    clock,
    log: log.component('fetch'),
    settings: fetchSettings(config),
    stableOffsets: openTransactions,
  });
  const clientQuotas = new ClientQuotas(engine.catalogue);
  const shareFetches = new ShareFetches({
    engine,
    topics,
    coordinator: shareCoordinator,
    settings: shareSettings,
    stableOffsets: openTransactions,
    offsets: fetches.offsets,
    clock,
    log: log.component('share'),
    maxAnswerBytes: fetchSettings(config).maxAnswerBytes,
  });
  const shareOffsets = new ShareOffsets({ engine, topics, coordinator: shareCoordinator, groups });
  return {
    clock,
    log,
    engine,
    config,
    dynamicConfig,
    groupConfigs,
    topics,
    dataVolume: dataVolume(options.config),
    groups,
    appends,
    fetches,
    producerIds,
    transactions,
    openTransactions,
    shareCoordinator,
    shareFetches,
    shareOffsets,
    shareRetries,
    featureLevels: new FeatureLevels(engine.catalogue, config.int('node.id')),
    clientMetrics: new ClientMetrics({
      catalogue: engine.catalogue,
      clock,
      log: log.component('client-metrics'),
      randomBytes,
      maxBytes: () => config.int('telemetry.max.bytes'),
    }),
    clientQuotas,
    quotas: new Quotas(clientQuotas, clock, quotaSettings(config)),
    nodeId: config.int('node.id'),
    features,
  };
}

/** The settings in force, read at every use: they may change while the broker runs. */
function appendSettings(config: BrokerConfig): AppendSettings {
  return {
    get flushPolicy() {
      return config.string('rmq.flush.policy') as AppendSettings['flushPolicy'];
    },
  };
}

function fetchSettings(config: BrokerConfig): FetchSettings {
  return {
    ...defaultFetchSettings,
    get maxAnswerBytes() {
      return config.int('fetch.max.bytes');
    },
    get maxSessions() {
      return config.int('max.incremental.fetch.session.cache.slots');
    },
  };
}

function quotaSettings(config: BrokerConfig): QuotaSettings {
  return {
    client: {
      samples: config.int('quota.window.num'),
      sampleMs: config.int('quota.window.size.seconds') * 1000,
    },
    changes: {
      samples: config.int('controller.quota.window.num'),
      sampleMs: config.int('controller.quota.window.size.seconds') * 1000,
    },
  };
}

/** What DescribeLogDirs tells of where the data lies. */
function dataVolume(config: StartConfig): DataVolume {
  const path = resolve(config.dataDirectory);
  return {
    path,
    async space() {
      if (config.memory) return undefined;
      const volume = await statfs(path);
      return { totalBytes: volume.blocks * volume.bsize, usableBytes: volume.bavail * volume.bsize };
    },
  };
}

export async function closeServices(services: BuiltServices): Promise<void> {
  await services.transactions.close();
  await services.shareRetries.close();
  await services.shareCoordinator.close();
  await services.groups.close();
  services.topics.close();
  services.groupConfigs.close();
  services.dynamicConfig.close();
  services.clientQuotas.close();
  services.clientMetrics.close();
}
