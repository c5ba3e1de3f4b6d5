/**
 * Enforces client quotas: what a request or a connection costs, and how long its client must wait. Requests are told apart by their API
 * key alone; muting connections and telling clients is for the callers.
 */
import type { Clock } from '../../util/clock.ts';
import { ClientMeters, MeterTable } from './client-meters.ts';
import type { ClientQuotas } from './client-quotas.ts';
import { SampledRate, type SampleWindow } from './sampled-rate.ts';
import { TokenBucket } from './token-bucket.ts';

export interface QuotaSettings {
  /** quota.window.num and quota.window.size.seconds */
  readonly client: SampleWindow;
  /** controller.quota.window.num and controller.quota.window.size.seconds */
  readonly changes: SampleWindow;
}

/** Whose use is counted. */
export interface QuotaClient {
  /** `User:NAME` */
  readonly principal: string;
  readonly clientId: string | null;
}

/** What a finished request cost. */
export interface RequestCost {
  readonly apiKey: number;
  readonly requestBytes: number;
  /** 0 where nothing is answered. */
  readonly answerBytes: number;
  /** Of the thread. */
  readonly busyMs: number;
}

/** How often and how long clients were made to wait, by what they had too much of. */
export interface ThrottleFigures {
  count: number;
  sumMs: number;
}

export type ThrottleReason = 'produce' | 'fetch' | 'request' | 'changes' | 'connections';

const produceKey = 0;
const fetchKey = 1;

export class Quotas {
  readonly figures: Readonly<Record<ThrottleReason, ThrottleFigures>> = {
    produce: { count: 0, sumMs: 0 },
    fetch: { count: 0, sumMs: 0 },
    request: { count: 0, sumMs: 0 },
    changes: { count: 0, sumMs: 0 },
    connections: { count: 0, sumMs: 0 },
  };
  readonly #quotas: ClientQuotas;
  readonly #clock: Clock;
  readonly #produce: ClientMeters;
  readonly #fetch: ClientMeters;
  readonly #request: ClientMeters;
  readonly #changes: MeterTable<TokenBucket>;
  readonly #connections: MeterTable<SampledRate>;
  readonly #longestConnectionWaitMs: number;

  constructor(quotas: ClientQuotas, clock: Clock, { client, changes }: QuotaSettings) {
    this.#quotas = quotas;
    this.#clock = clock;
    this.#produce = new ClientMeters(client);
    this.#fetch = new ClientMeters(client);
    // Nobody waits longer than one sample for the time of a thread, nor for a connection.
    this.#request = new ClientMeters(client, client.sampleMs);
    this.#longestConnectionWaitMs = client.sampleMs;
    this.#changes = new MeterTable(() => new TokenBucket(changes));
    this.#connections = new MeterTable(() => new SampledRate(client));
  }

  /** Whether requests cost anything: where false, nothing need be measured. */
  get isCharging(): boolean {
    const quotas = this.#quotas;
    return quotas.has('producer_byte_rate') || quotas.has('consumer_byte_rate') || this.isChargingTime;
  }

  get isChargingTime(): boolean {
    return this.#quotas.has('request_percentage');
  }

  /** Counts a finished request, and says how long its client must wait: 0 where it keeps to its quotas. */
  charge(client: QuotaClient, cost: RequestCost): number {
    const nowMs = this.#nowMs();
    const user = userOf(client);
    const clientId = client.clientId ?? '';
    let bytesWaitMs = 0;
    if (cost.apiKey === produceKey) {
      const quota = this.#quotas.ofClient('producer_byte_rate', user, clientId);
      if (quota !== undefined) bytesWaitMs = this.#produce.record(quota, cost.requestBytes, nowMs);
    } else if (cost.apiKey === fetchKey) {
      const quota = this.#quotas.ofClient('consumer_byte_rate', user, clientId);
      if (quota !== undefined) bytesWaitMs = this.#fetch.record(quota, cost.answerBytes, nowMs);
    }
    let timeWaitMs = 0;
    const time = this.#quotas.ofClient('request_percentage', user, clientId);
    if (time !== undefined) {
      const waitMs = this.#request.record(time, percentSeconds(cost.busyMs), nowMs);
      // As in Kafka, a producer that waits for no answer does not wait for this.
      if (cost.apiKey !== produceKey || cost.answerBytes > 0) timeWaitMs = waitMs;
    }
    if (bytesWaitMs > timeWaitMs) this.#note(cost.apiKey === produceKey ? 'produce' : 'fetch', bytesWaitMs);
    else if (timeWaitMs > 0) this.#note('request', timeWaitMs);
    return Math.max(bytesWaitMs, timeWaitMs);
  }

  /**
   * How many bytes a Fetch of this client may be answered with, or how long it must wait where there is no room: it is then
   * answered without records. Kafka reads them, and throws them away.
   */
  fetchRoom(client: QuotaClient): { readonly bytes: number } | { readonly waitMs: number } {
    const quota = this.#quotas.ofClient('consumer_byte_rate', userOf(client), client.clientId ?? '');
    if (quota === undefined) return unlimited;
    const nowMs = this.#nowMs();
    const waitMs = this.#fetch.waitMs(quota, nowMs);
    // Counted when the answer is charged.
    if (waitMs > 0) return { waitMs };
    const room = Math.min(this.#fetch.room(quota, nowMs), this.#fetch.largestUse(quota));
    return { bytes: Math.max(1, Math.floor(room)) };
  }

  /** Changes of partitions that one request asks for (KIP-599). `isStrict`: its version can be told to come again. */
  changesOf(client: QuotaClient, isStrict: boolean): ChangeQuota {
    const quota = this.#quotas.ofClient('controller_mutation_rate', userOf(client), client.clientId ?? '');
    if (quota === undefined) return unlimitedChanges;
    const bucket = this.#changes.get(quota.meter);
    let throttleMs = 0;
    return {
      get throttleMs() {
        return throttleMs;
      },
      take: (partitions) => {
        const nowMs = this.#nowMs();
        if (isStrict) {
          // Who finds a token may take more than there are.
          throttleMs = bucket.waitMs(quota.limit, nowMs);
          if (throttleMs > 0) return false;
          bucket.take(partitions, quota.limit, nowMs);
          return true;
        }
        bucket.take(partitions, quota.limit, nowMs);
        throttleMs = bucket.waitMs(quota.limit, nowMs);
        return true;
      },
      settle: () => {
        if (throttleMs > 0) this.#note('changes', throttleMs);
        return throttleMs;
      },
    };
  }

  /** Counts a new connection; how long it is to be held, unread, before it is closed, or 0 where it may stay (KIP-612). */
  connectionWaitMs(address: string): number {
    const limit = this.#quotas.ofAddress(address);
    if (limit === undefined) return 0;
    const nowMs = this.#nowMs();
    const rate = this.#connections.get(address);
    rate.record(1, nowMs);
    const used = rate.rate(nowMs);
    if (used <= limit) return 0;
    const waitMs = Math.round(((used - limit) / limit) * rate.windowMs(nowMs));
    // It is not let in, so it does not count.
    rate.record(-1, nowMs);
    const bounded = Math.max(1, Math.min(waitMs, this.#longestConnectionWaitMs));
    this.#note('connections', bounded);
    return bounded;
  }

  #note(reason: ThrottleReason, waitMs: number): void {
    const figures = this.figures[reason];
    figures.count += 1;
    figures.sumMs += waitMs;
  }

  #nowMs(): number {
    return Math.floor(this.#clock.monotonicMs());
  }
}

/** The changes of one request. */
export interface ChangeQuota {
  /** Takes that many; false where none may be taken now and the client can be told so. */
  take(partitions: number): boolean;
  /** How long the client must wait, as of the last `take`. */
  readonly throttleMs: number;
  /** Counts the wait of the whole request, and returns it. */
  settle(): number;
}

const unlimited = { bytes: Number.POSITIVE_INFINITY } as const;
export const unlimitedChanges: ChangeQuota = { throttleMs: 0, take: () => true, settle: () => 0 };

/** request_percentage is percent of one thread: hundredths of a second a second. */
function percentSeconds(busyMs: number): number {
  return busyMs / 10;
}

function userOf({ principal }: QuotaClient): string {
  const at = principal.indexOf(':');
  return at < 0 ? principal : principal.slice(at + 1);
}
