/**
 * The clients that push metrics (KIP-714): what each is asked for, when it may come again, and what it said last. The rules are those
 * of Kafka's ClientMetricsManager. Time comes in through the clock; what a report says is for others.
 */
import { type ErrorCode, errorCodes } from '../../../protocol/error-codes.ts';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { ZERO_UUID } from '../../../protocol/wire/uuid.ts';
import type { Clock } from '../../util/clock.ts';
import { defaultIntervalMs, type MatchName } from './subscription-config.ts';
import type { Subscriptions } from './subscriptions.ts';

/** Kafka keeps as many; the one that was longest silent goes, and begins anew. */
const maxInstances = 16_384;
/** An instance that pushed nothing for so many intervals is forgotten. */
const expiryIntervals = 3;
/** How often expired ones are looked for, at most. */
const sweepIntervalMs = 1_000;
const allMetrics = '*';
/** Uuids that name nothing: zero and the id of Kafka's metadata topic. */
const reservedIds: ReadonlySet<string> = new Set([ZERO_UUID, 'AAAAAAAAAAAAAAAAAAAAAQ']);

export type ClientFacts = Readonly<Record<Exclude<MatchName, 'client_instance_id'>, string>>;

export interface ClientInstance {
  readonly id: string;
  readonly facts: ClientFacts;
  readonly metrics: readonly string[];
  readonly intervalMs: number;
  readonly subscriptionId: number;
  readonly subscriptionsVersion: number;
  lastGetMs: number;
  lastPushMs: number;
  /** Of the last request of any kind. */
  lastSeenMs: number;
  lastError: ErrorCode;
  isTerminating: boolean;
}

export interface PushTerms {
  readonly subscriptionId: number;
  readonly terminating: boolean;
  readonly compressionType: number;
  readonly sizeBytes: number;
  readonly maxBytes: number;
}

const largestCompressionType = 4;
const longAgoMs = Number.NEGATIVE_INFINITY;

export class ClientInstances {
  readonly #clock: Clock;
  readonly #subscriptions: Pick<Subscriptions, 'all' | 'version'>;
  readonly #newId: () => string;
  /** The one that was longest silent first. */
  readonly #instances = new Map<string, ClientInstance>();
  readonly #onForgotten: (id: string) => void;
  #sweptAtMs = longAgoMs;

  constructor(
    clock: Clock,
    subscriptions: Pick<Subscriptions, 'all' | 'version'>,
    newId: () => string,
    onForgotten: (id: string) => void,
  ) {
    this.#clock = clock;
    this.#subscriptions = subscriptions;
    this.#newId = newId;
    this.#onForgotten = onForgotten;
  }

  get size(): number {
    return this.#instances.size;
  }

  get(id: string): ClientInstance | undefined {
    return this.#instances.get(id);
  }

  /** GetTelemetrySubscriptions: what the client is to push. It is given an id where it has none. */
  ask(id: string, facts: ClientFacts): ClientInstance | ErrorCode {
    const nowMs = this.#clock.monotonicMs();
    const instance = this.#find(id === ZERO_UUID ? this.#freshId() : id, facts, nowMs);
    const elapsedMs = nowMs - Math.max(instance.lastGetMs, instance.lastPushMs);
    if (elapsedMs >= instance.intervalMs) instance.lastGetMs = nowMs;
    else if (
      instance.lastError !== errorCodes.UNKNOWN_SUBSCRIPTION_ID &&
      instance.lastError !== errorCodes.UNSUPPORTED_COMPRESSION_TYPE
    ) {
      return errorCodes.THROTTLING_QUOTA_EXCEEDED;
    }
    instance.lastError = errorCodes.NONE;
    return instance;
  }

  /** PushTelemetry: whether the report may be taken. */
  push(id: string, facts: ClientFacts, terms: PushTerms): ClientInstance | ErrorCode {
    if (reservedIds.has(id)) return errorCodes.INVALID_REQUEST;
    const nowMs = this.#clock.monotonicMs();
    const instance = this.#find(id, facts, nowMs);
    const errorCode = pushFault(instance, terms, nowMs);
    instance.isTerminating = terms.terminating;
    instance.lastError = errorCode;
    return errorCode === errorCodes.NONE ? instance : errorCode;
  }

  /** Forgets clients that are silent. */
  sweep(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#sweptAtMs < sweepIntervalMs) return;
    this.#sweptAtMs = nowMs;
    for (const instance of this.#instances.values()) {
      if (nowMs - instance.lastSeenMs > expiryIntervals * instance.intervalMs) this.#forget(instance.id);
    }
  }

  #find(id: string, facts: ClientFacts, nowMs: number): ClientInstance {
    this.sweep();
    const before = this.#instances.get(id);
    const instance =
      before !== undefined && before.subscriptionsVersion === this.#subscriptions.version
        ? before
        : this.#evaluate(id, facts);
    // A client whose subscriptions changed may come at once, but one that said goodbye stays gone.
    if (before !== undefined) instance.isTerminating = before.isTerminating;
    this.#instances.delete(id);
    this.#instances.set(id, instance);
    instance.lastSeenMs = nowMs;
    if (this.#instances.size > maxInstances) {
      for (const oldest of this.#instances.keys()) {
        this.#forget(oldest);
        break;
      }
    }
    return instance;
  }

  #forget(id: string): void {
    if (this.#instances.delete(id)) this.#onForgotten(id);
  }

  #evaluate(id: string, facts: ClientFacts): ClientInstance {
    const client = { ...facts, client_instance_id: id };
    const metrics = new Set<string>();
    let intervalMs = defaultIntervalMs;
    for (const subscription of this.#subscriptions.all) {
      if (!subscription.matches(client)) continue;
      for (const metric of subscription.metrics) metrics.add(metric);
      intervalMs = Math.min(intervalMs, subscription.intervalMs);
    }
    const wanted = metrics.has(allMetrics) ? [allMetrics] : [...metrics].sort();
    return {
      id,
      facts,
      metrics: wanted,
      intervalMs,
      subscriptionId: subscriptionIdOf(wanted, intervalMs, id),
      subscriptionsVersion: this.#subscriptions.version,
      lastGetMs: longAgoMs,
      lastPushMs: longAgoMs,
      lastSeenMs: 0,
      lastError: errorCodes.NONE,
      isTerminating: false,
    };
  }

  #freshId(): string {
    for (;;) {
      const id = this.#newId();
      if (!this.#instances.has(id) && !reservedIds.has(id)) return id;
    }
  }
}

function pushFault(instance: ClientInstance, terms: PushTerms, nowMs: number): ErrorCode {
  if (instance.isTerminating) return errorCodes.INVALID_REQUEST;
  // The first push after a look may come early: clients spread it over half an interval to one and a half.
  const mayCome =
    instance.lastGetMs > instance.lastPushMs || nowMs - instance.lastPushMs >= instance.intervalMs;
  if (mayCome) instance.lastPushMs = nowMs;
  else if (!terms.terminating) return errorCodes.THROTTLING_QUOTA_EXCEEDED;
  if (terms.subscriptionId !== instance.subscriptionId) return errorCodes.UNKNOWN_SUBSCRIPTION_ID;
  if (terms.compressionType < 0 || terms.compressionType > largestCompressionType) {
    return errorCodes.UNSUPPORTED_COMPRESSION_TYPE;
  }
  return terms.sizeBytes > terms.maxBytes ? errorCodes.TELEMETRY_TOO_LARGE : errorCodes.NONE;
}

/** Differs between clients and changes with what is asked for. */
function subscriptionIdOf(metrics: readonly string[], intervalMs: number, id: string): number {
  const what = crc32c(Buffer.from(`${metrics.join(',')}/${intervalMs}`));
  return (what ^ crc32c(Buffer.from(id))) | 0;
}
