/**
 * What handlers are built from: every service that one of them calls, and what is common to all. The composition root fills it
 * in; a handler takes only the fields that it needs.
 */
import type { AppendService } from '../services/append/append-service.ts';
import type { ClientMetrics } from '../services/client-metrics/client-metrics.ts';
import type { BrokerConfig } from '../services/configuration/broker-config.ts';
import type { DynamicBrokerConfig } from '../services/configuration/dynamic-broker-config.ts';
import type { FeatureLevels } from '../services/configuration/feature-levels.ts';
import type { GroupConfigs } from '../services/configuration/group-configs.ts';
import type { FetchService } from '../services/fetch/fetch-service.ts';
import type { GroupCoordinator } from '../services/groups/group-coordinator.ts';
import type { ProducerIds } from '../services/producers/producer-ids.ts';
import type { ClientQuotas } from '../services/quotas/client-quotas.ts';
import type { Quotas } from '../services/quotas/quotas.ts';
import type { ShareCoordinator } from '../services/share/share-coordinator.ts';
import type { ShareFetches } from '../services/share/share-fetches.ts';
import type { ShareOffsets } from '../services/share/share-offsets.ts';
import type { TopicCatalogue } from '../services/topics/topic-catalogue.ts';
import type { TransactionCoordinator } from '../services/transactions/transaction-coordinator.ts';
import type { StorageEngine } from '../storage/engine.ts';
import type { Clock } from '../util/clock.ts';
import type { Log } from '../util/log.ts';

/** Where the data lies, for those who ask how full it is. */
export interface DataVolume {
  /** As shown to clients. */
  readonly path: string;
  /** Undefined where it cannot be said (data in memory). */
  space(): Promise<{ readonly totalBytes: number; readonly usableBytes: number } | undefined>;
}

export interface Services {
  readonly clock: Clock;
  readonly log: Log;
  readonly engine: StorageEngine;
  readonly config: BrokerConfig;
  readonly dynamicConfig: DynamicBrokerConfig;
  readonly groupConfigs: GroupConfigs;
  readonly topics: TopicCatalogue;
  readonly dataVolume: DataVolume;
  readonly appends: AppendService;
  readonly fetches: FetchService;
  readonly producerIds: ProducerIds;
  readonly groups: GroupCoordinator;
  readonly transactions: TransactionCoordinator;
  readonly shareCoordinator: ShareCoordinator;
  readonly shareFetches: ShareFetches;
  readonly shareOffsets: ShareOffsets;
  readonly featureLevels: FeatureLevels;
  readonly clientMetrics: ClientMetrics;
  /** What was set. */
  readonly clientQuotas: ClientQuotas;
  /** What is used of it. */
  readonly quotas: Quotas;
  /** node.id */
  readonly nodeId: number;
}
