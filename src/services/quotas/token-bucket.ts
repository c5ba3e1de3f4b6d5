/**
 * The token bucket of KIP-599: tokens come at the quota's rate up to a burst, and a request that finds a token may take more than there
 * are; the next ones wait until the debt is paid. Knows no clients; time comes in with every call.
 */
import type { SampleWindow } from './sampled-rate.ts';

export class TokenBucket {
  readonly #window: SampleWindow;
  #tokens = 0;
  /** Long before anything: a new bucket is full. */
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(window: SampleWindow) {
    this.#window = window;
  }

  /** Negative while there is a debt. `ratePerSecond`: the quota in force. */
  tokens(ratePerSecond: number, nowMs: number): number {
    const burst = (ratePerSecond * this.#window.samples * this.#window.sampleMs) / 1000;
    const came = ratePerSecond * ((nowMs - this.#lastMs) / 1000);
    this.#tokens = Math.min(burst, this.#tokens + came);
    this.#lastMs = nowMs;
    return this.#tokens;
  }

  take(count: number, ratePerSecond: number, nowMs: number): void {
    this.#tokens = this.tokens(ratePerSecond, nowMs) - count;
  }

  /** How long until the debt is paid; 0 where there is none. */
  waitMs(ratePerSecond: number, nowMs: number): number {
    const tokens = this.tokens(ratePerSecond, nowMs);
    return tokens < 0 ? Math.round((-tokens / ratePerSecond) * 1000) : 0;
  }
}
