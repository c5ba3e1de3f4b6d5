/** What the HTTP side may ask of the broker. Knows nothing of HTTP. */

import type { BackupOptions, BackupReport } from '../storage/backup.ts';
import type { DeadLetterAdmin } from './dead-letter-admin.ts';
import type { ClockAdmin, DelayAdmin } from './delay-admin.ts';
import type { GroupSettingsAdmin, HalfAdmin } from './half-admin.ts';
import type { ClientMetricsAdmin } from './routes/client-metrics.ts';

export type BrokerState = 'starting' | 'ready' | 'draining' | 'stopped' | 'failed';

export interface ListenerStatus {
  readonly name: string;
  readonly securityProtocol: string;
  readonly advertised: string;
}

export interface BrokerStatus {
  readonly version: string;
  readonly state: BrokerState;
  readonly nodeId: number;
  readonly clusterId: string;
  readonly startedAt: string;
  readonly upTimeMs: number;
  readonly listeners: readonly ListenerStatus[];
  readonly connections: number;
  readonly requestsInFlight: number;
  readonly topics: number;
  readonly partitions: number;
  readonly storage: {
    readonly kind: 'memory' | 'embedded';
    readonly directory: string | null;
    readonly totalBytes: number;
    readonly unflushedBytes: number;
    readonly unwrittenBytes: number;
    readonly epoch: number;
  };
}

export interface AdminSource {
  readonly state: BrokerState;
  status(): BrokerStatus;
  /** Rejects with BackupRefusedError where it cannot be done as asked. */
  backup(options: BackupOptions): Promise<BackupReport>;
  /** One scrape in Prometheus' text format. */
  metrics(): string;
  readonly clientMetrics?: ClientMetricsAdmin;
  readonly delayed?: DelayAdmin;
  readonly halfMessages?: HalfAdmin;
  readonly deadLetters?: DeadLetterAdmin;
  readonly groupSettings?: GroupSettingsAdmin;
  /** Where the clock can be moved. */
  readonly virtualClock?: ClockAdmin | undefined;
}
