import { describe, expect, it } from 'vitest';
import { BrokerConfig } from '../../../../src/services/configuration/broker-config.ts';
import { configOperations } from '../../../../src/services/configuration/config-operations.ts';
import { GroupConfigs } from '../../../../src/services/configuration/group-configs.ts';
import {
  delayOf,
  longestRetryDelayMs,
  parseDelays,
  type RetrySchedule,
} from '../../../../src/services/features/retry/retry-schedule.ts';
import { retrySettingsOf } from '../../../../src/services/features/retry/retry-settings.ts';
import { memoryEngine } from '../../../handlers/admin-broker.ts';

const groups = (settings: Record<string, string> = {}) =>
  new GroupConfigs(memoryEngine().catalogue, new BrokerConfig(new Map(Object.entries(settings))));
const never = (): number => {
  throw new Error('chance was asked');
};
const exponential = (more: object = {}): RetrySchedule => ({
  policy: { kind: 'exponential', initialMs: 5_000, maxMs: 7_200_000, multiplier: 2, ...more },
  jitterPct: 0,
});

describe('the retry schedule', () => {
  it('is the table of RocketMQ where nothing is set', () => {
    // Levels 3 to 18 of messageDelayLevel, seconds.
    const table = [10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
    const { schedule, maxTimes, dedupMs } = retrySettingsOf(groups(), 'g');
    const delays = Array.from({ length: 18 }, (_, at) => delayOf(at + 1, schedule, never) / 1_000);
    expect(delays).toEqual([...table, 7200, 7200]);
    expect(maxTimes).toBe(16);
    expect(dedupMs).toBe(600_000);
  });

  it('doubles up to its longest, as the exponential policy of RocketMQ', () => {
    const seconds = Array.from({ length: 13 }, (_, at) => delayOf(at + 1, exponential(), never) / 1_000);
    expect(seconds).toEqual([5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 7200, 7200]);
    expect(delayOf(1_000_000, exponential({ multiplier: 1.5 }), never)).toBe(7_200_000);
    expect(delayOf(3, exponential({ initialMs: 0 }), never)).toBe(0);
  });

  it('is never shortened by chance', () => {
    const schedule: RetrySchedule = { policy: { kind: 'customized', delaysMs: [1_000] }, jitterPct: 20 };
    expect(delayOf(1, schedule, () => 0)).toBe(1_000);
    expect(delayOf(1, schedule, () => 0.5)).toBe(1_100);
    expect(delayOf(1, schedule, () => 0.999_999)).toBe(1_199);
    const longest: RetrySchedule = {
      policy: { kind: 'customized', delaysMs: [longestRetryDelayMs] },
      jitterPct: 100,
    };
    expect(delayOf(1, longest, () => 0.9)).toBe(longestRetryDelayMs);
  });

  it('reads its delays in any unit and refuses what is none', () => {
    expect(parseDelays(['0ms', '500ms', '10s', '1m', '2h', '3d'])).toEqual([
      0, 500, 10_000, 60_000, 7_200_000, 259_200_000,
    ]);
    for (const wrong of ['', '10', '1w', '-1s', '1.5s', '4d', '9999999999s']) {
      expect(() => parseDelays([wrong]), wrong).toThrow(/is no delay/);
    }
    expect(() => parseDelays([])).toThrow('1 to 100 delays');
    expect(() => parseDelays(new Array(101).fill('1s'))).toThrow('1 to 100 delays');
  });
});

describe('the retry settings of a group', () => {
  const set = (configs: GroupConfigs, name: string, value: string) =>
    configs.change('g', [{ name, operation: configOperations.SET, value }], false);

  it('are refused with what is wrong', async () => {
    const configs = groups();
    for (const [name, value, words] of [
      ['rmq.retry.delays', '10s,soon', "'soon' is no delay"],
      ['rmq.retry.policy', 'random', 'must be one of: customized, exponential'],
      ['rmq.retry.exponential.multiplier', '0.5', 'at least 1'],
      ['rmq.retry.max.times', '-1', 'at least 0'],
      ['rmq.retry.jitter.pct', '101', 'no more than 100'],
      ['rmq.retry.topic', 'a b', 'is not allowed|ASCII alphanumerics'],
      ['errors.deadletterqueue.topic.name', '__dlq', "must not start with '__'"],
      ['errors.deadletterqueue.topic.name', 'letters', 'must start with dlq.'],
    ]) {
      const refusal = await set(configs, name!, value!);
      expect(refusal?.message, name).toMatch(new RegExp(words!));
    }
  });

  it('fall back to those of the broker, and are read as set', async () => {
    const configs = groups({ 'rmq.retry.enable': 'true', 'rmq.retry.max.times': '3' });
    expect(retrySettingsOf(configs, 'g')).toMatchObject({
      isEnabled: true,
      maxTimes: 3,
      topic: 'retry.g',
    });
    expect(await set(configs, 'rmq.retry.delays', '1s, 2m')).toBeUndefined();
    expect(await set(configs, 'rmq.retry.topic', 'again')).toBeUndefined();
    expect(retrySettingsOf(configs, 'g')).toMatchObject({
      topic: 'again',
      schedule: { policy: { delaysMs: [1_000, 120_000] } },
    });
    expect(retrySettingsOf(configs, 'odd group/ü').topic).toMatch(/^retry\.odd_group__-[0-9a-f]{8}$/);
  });
});
