/** What /metrics shows: each family with where its figures come from. */
import { apiByKey } from '../../protocol/generated/apis.ts';
import { connectionMetrics } from '../connection/connection-metrics.ts';
import type { ConnectionServer } from '../connection/connection-server.ts';
import type { ClientMetrics } from '../services/client-metrics/client-metrics.ts';
import { compactionMetrics } from '../services/compaction/compaction-metrics.ts';
import type { CompactionService } from '../services/compaction/compaction-service.ts';
import type { Features } from '../services/features/features.ts';
import { latenessBucketsMs } from '../services/features/timers/lateness.ts';
import { transactionMetrics } from '../services/transactions/transaction-metrics.ts';
import { brokerMetrics } from '../telemetry/broker-metrics.ts';
import { eventLoopDelayMetrics } from '../telemetry/event-loop-delay.ts';
import { halfMetrics } from '../telemetry/half-metrics.ts';
import type { MetricRegistry } from '../telemetry/metrics.ts';
import { processMetrics } from '../telemetry/process-metrics.ts';
import { type PushedFigures, pushedMetrics } from '../telemetry/pushed-metrics.ts';
import { quotaMetrics } from '../telemetry/quota-metrics.ts';
import { retryMetrics } from '../telemetry/retry-metrics.ts';
import { spaceMetrics } from '../telemetry/space-metrics.ts';
import { type TimerFigures, timerMetrics } from '../telemetry/timer-metrics.ts';
import type { Clock } from '../util/clock.ts';
import type { BuiltServices } from './services.ts';

/** What only the broker itself can say. */
export interface BrokerFacts {
  /** HOST:PORT that clients are told; empty before it listens. */
  readonly address: string;
  readonly version: string;
  readonly isReady: boolean;
}

export interface MetricSources {
  readonly services: BuiltServices;
  readonly compaction: CompactionService;
  readonly server: ConnectionServer;
  readonly startedAtMs: number;
  readonly clock: Clock;
  facts(): BrokerFacts;
}

/** Every family of metrics, in the order in which they are shown. */
export function addMetrics(registry: MetricRegistry, sources: MetricSources): void {
  const { services, compaction, server, startedAtMs, clock, facts } = sources;
  const { engine, topics, transactions, features, nodeId } = services;
  registry.add(processMetrics(startedAtMs));
  registry.add(eventLoopDelayMetrics());
  registry.add(
    brokerMetrics(() => ({
      ...facts(),
      nodeId,
      topics: topics.size,
      partitions: topics.partitionCount,
      ...engine.sizes(),
    })),
  );
  registry.add(transactionMetrics(transactions));
  registry.add(spaceMetrics(() => engine.spaceFacts()));
  registry.add(compactionMetrics(() => compaction.figures, clock));
  registry.add(timerMetrics(() => timerFigures(features)));
  registry.add(halfMetrics(() => features.half.figures));
  registry.add(quotaMetrics(services.quotas.figures));
  registry.add(pushedMetrics(() => pushedFigures(services.clientMetrics)));
  registry.add(
    retryMetrics(() => ({ ...features.retry.figures, deadLetters: features.deadLetters.written })),
  );
  registry.add(connectionMetrics(server, (apiKey) => apiByKey(apiKey)?.name ?? String(apiKey)));
}

function pushedFigures({ instances, pushed, figures }: ClientMetrics): PushedFigures {
  instances.sweep();
  return {
    instances: instances.size,
    taken: figures.taken,
    unreadable: figures.unreadable,
    leftOut: pushed.leftOut,
    clients: [...pushed.clients].map(([id, series]) => ({
      id,
      clientId: instances.get(id)?.facts.client_id ?? '',
      series: series.values(),
    })),
  };
}

function timerFigures({ timers, trim, delay }: Features): TimerFigures {
  const named = (byKind: ReadonlyMap<number, number>) =>
    new Map([...byKind].map(([kind, count]) => [timers.handlerName(kind), count]));
  return {
    loaded: timers.loaded,
    pending: trim.pendingByKind && named(trim.pendingByKind),
    pendingByTopic: trim.pendingBySubject,
    latenessByTopic: timers.latenessBySubject.sums,
    fired: named(timers.fired),
    discarded: timers.discarded,
    lateness: {
      boundsMs: latenessBucketsMs,
      counts: timers.lateness.counts,
      sumMs: timers.lateness.sumMs,
    },
    scheduledRecords: delay.step.scheduled,
    operations: delay.operations.done,
  };
}
