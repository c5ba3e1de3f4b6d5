/**
 * What clients have used of one kind of quota, and how long one that used too much must wait. A meter stands for all clients that share
 * a quota. Nothing is measured for who has none.
 */

import type { QuotaInForce } from './client-quotas.ts';
import { SampledRate, type SampleWindow } from './sampled-rate.ts';

/** Meters kept; the one that was longest unused goes, and its client begins anew. */
const maxMeters = 10_000;

/** Keeps one meter a name, up to the limit. */
export class MeterTable<Meter> {
  readonly #meters = new Map<string, Meter>();
  readonly #create: () => Meter;

  constructor(create: () => Meter) {
    this.#create = create;
  }

  get(name: string): Meter {
    const meter = this.#meters.get(name) ?? this.#create();
    this.#meters.delete(name);
    this.#meters.set(name, meter);
    if (this.#meters.size > maxMeters) {
      for (const oldest of this.#meters.keys()) {
        this.#meters.delete(oldest);
        break;
      }
    }
    return meter;
  }

  get size(): number {
    return this.#meters.size;
  }
}

export class ClientMeters {
  readonly #meters: MeterTable<SampledRate>;
  readonly #window: SampleWindow;
  readonly #longestWaitMs: number;

  /** `longestWaitMs`: for quotas whose waits Kafka bounds. */
  constructor(window: SampleWindow, longestWaitMs = Number.POSITIVE_INFINITY) {
    this.#window = window;
    this.#longestWaitMs = longestWaitMs;
    this.#meters = new MeterTable(() => new SampledRate(window));
  }

  /** Counts a use, and says for how many milliseconds the client must wait for it; 0 where it keeps to its quota. */
  record({ meter, limit }: QuotaInForce, value: number, nowMs: number): number {
    const rate = this.#meters.get(meter);
    rate.record(value, nowMs);
    return this.#waitMs(rate, limit, nowMs);
  }

  /** How much may be used now without a wait; negative or 0 where nothing may. */
  room({ meter, limit }: QuotaInForce, nowMs: number): number {
    const rate = this.#meters.get(meter);
    return (limit * rate.windowMs(nowMs)) / 1000 - rate.sum(nowMs);
  }

  /** How long to wait for what was used before. */
  waitMs({ meter, limit }: QuotaInForce, nowMs: number): number {
    return this.#waitMs(this.#meters.get(meter), limit, nowMs);
  }

  /** The most that may be used at once. */
  largestUse({ limit }: QuotaInForce): number {
    return (limit * (this.#window.samples - 1) * this.#window.sampleMs) / 1000;
  }

  #waitMs(rate: SampledRate, limit: number, nowMs: number): number {
    const used = rate.rate(nowMs);
    if (used <= limit) return 0;
    const waitMs = Math.round(((used - limit) / limit) * rate.windowMs(nowMs));
    return Math.min(waitMs, this.#longestWaitMs);
  }
}
