/**
 * A rate over a sliding window of samples, computed as Kafka's metrics do (Rate on a SampledStat), so that the same load meets the same
 * throttle times. Knows neither quotas nor clients; time comes in with every call, in milliseconds that only grow.
 */

export interface SampleWindow {
  /** quota.window.num */
  readonly samples: number;
  /** quota.window.size.seconds, in milliseconds. */
  readonly sampleMs: number;
}

interface Sample {
  startMs: number;
  lastMs: number;
  sum: number;
}

export class SampledRate {
  readonly #window: SampleWindow;
  readonly #samples: Sample[] = [];
  #current = 0;

  constructor(window: SampleWindow) {
    this.#window = window;
  }

  record(value: number, nowMs: number): void {
    let sample = this.#samples[this.#current];
    if (sample === undefined) {
      sample = emptySample(nowMs);
      this.#samples.push(sample);
    } else if (nowMs - sample.startMs >= this.#window.sampleMs) sample = this.#advance(nowMs);
    sample.sum += value;
    sample.lastMs = nowMs;
  }

  /** A second. */
  rate(nowMs: number): number {
    return (this.sum(nowMs) * 1000) / this.windowMs(nowMs);
  }

  /** Of what is still in the window. */
  sum(nowMs: number): number {
    this.#purge(nowMs);
    let sum = 0;
    for (const sample of this.#samples) sum += sample.sum;
    return sum;
  }

  /** What the sum is divided by: never less than all samples but one, so that the first second of a load is no burst. */
  windowMs(nowMs: number): number {
    this.#purge(nowMs);
    const { samples, sampleMs } = this.#window;
    let oldestMs = nowMs;
    for (const { startMs } of this.#samples) oldestMs = Math.min(oldestMs, startMs);
    const elapsedMs = nowMs - oldestMs;
    const wholeSamples = Math.floor(elapsedMs / sampleMs);
    const missing = Math.max(0, samples - 1 - wholeSamples);
    return Math.max(1, elapsedMs + missing * sampleMs);
  }

  /** One sample more than the window has, because the oldest one may lie in it in part. */
  #advance(nowMs: number): Sample {
    this.#current = (this.#current + 1) % (this.#window.samples + 1);
    const sample = emptySample(nowMs);
    this.#samples[this.#current] = sample;
    return sample;
  }

  #purge(nowMs: number): void {
    const expiryMs = this.#window.samples * this.#window.sampleMs;
    for (const sample of this.#samples) {
      if (nowMs - sample.lastMs < expiryMs) continue;
      sample.startMs = nowMs;
      sample.lastMs = nowMs;
      sample.sum = 0;
    }
  }
}

function emptySample(nowMs: number): Sample {
  return { startMs: nowMs, lastMs: nowMs, sum: 0 };
}
