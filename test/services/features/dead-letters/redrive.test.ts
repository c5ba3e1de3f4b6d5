import { afterEach, describe, expect, it } from 'vitest';
import type { RedriveRequest } from '../../../../src/services/features/dead-letters/dead-letter-redrive.ts';
import type { RedriveJob } from '../../../../src/services/features/dead-letters/redrive-job.ts';
import { VirtualClock } from '../../../../src/util/clock.ts';
import type { Log } from '../../../../src/util/log.ts';
import { memoryEngine } from '../../../handlers/admin-broker.ts';
import { pointer, RetryBroker } from '../retry/retry-broker.ts';

const running: RetryBroker[] = [];
const lines: Record<string, unknown>[] = [];
const log: Log = {
  level: 'info',
  debug: () => {},
  info: (fields: object, message: string) => void lines.push({ ...fields, message }),
  warn: () => {},
  error: () => {},
  component: () => log,
} as unknown as Log;

afterEach(async () => {
  lines.length = 0;
  for (const broker of running.splice(0)) await broker.stop();
});

/** A group g with `count` dead letters of orders-0, every second of them requested, the others exhausted. */
async function withLetters(count: number, settings: Record<string, string> = {}): Promise<RetryBroker> {
  const broker = await RetryBroker.start({ engine: memoryEngine(), clock: new VirtualClock(), log });
  running.push(broker);
  await broker.set('g', { 'rmq.retry.enable': 'true', 'rmq.retry.max.times': '0', ...settings });
  const records = Array.from({ length: count }, (_, at) => ({
    key: `k${at}`,
    value: `v${at}`,
    headers: { own: `${at}` },
  }));
  await broker.produce('orders', records);
  await broker.produce(
    'retry.g',
    records.map((_, at) =>
      pointer(`orders/0/${at}`, {
        'rmq-error': `error ${at}`,
        ...(at % 2 ? { 'rmq-retry-action': 'dlq' } : {}),
      }),
    ),
  );
  return broker;
}

const asked = (more: Partial<RedriveRequest> = {}): RedriveRequest => ({
  group: 'g',
  to: 'origin',
  filter: {},
  rate: 1_000,
  maxRedrives: 3,
  ...more,
});

async function begin(broker: RetryBroker, more: Partial<RedriveRequest> = {}): Promise<RedriveJob> {
  const job = await broker.features.redrive.begin(asked(more));
  if (typeof job === 'string') throw new Error(job);
  return job;
}

describe('dead letters', () => {
  it('are listed page by page, and by what they say', async () => {
    const { features } = await withLetters(5);
    const first = await features.redrive.list('g', {}, 2, undefined);
    if (typeof first === 'string') throw new Error(first);
    expect(first.letters.map(({ offset, reason }) => [offset, reason])).toEqual([
      [0, 'exhausted'],
      [1, 'requested'],
    ]);
    const rest = await features.redrive.list('g', {}, 100, first.next);
    expect(typeof rest === 'string' ? rest : rest.letters.map(({ offset }) => offset)).toEqual([2, 3, 4]);
    const found = async (filter: RedriveRequest['filter']) => {
      const page = await features.redrive.list('g', filter, 100, undefined);
      return typeof page === 'string' ? page : page.letters.map(({ offset }) => offset);
    };
    expect(await found({ reason: 'requested' })).toEqual([1, 3]);
    expect(await found({ error: 'ror 4' })).toEqual([4]);
    expect(await found({ topic: 'other' })).toEqual([]);
    expect(await found({ untilMs: 0 })).toEqual([]);
    expect(await features.redrive.list('nobody', {}, 1, undefined)).toBe(
      'Group nobody has no dead-letter topic',
    );
  });

  it('go where they came from, once each, as they were', async () => {
    const broker = await withLetters(3);
    expect(await broker.features.redrive.dryRun(asked())).toEqual({
      sent: 3,
      skipped: {},
      targets: { orders: 3 },
      isPartial: false,
    });
    expect(await broker.read('orders')).toHaveLength(3);
    const { id } = await begin(broker);
    await broker.pass(10_000);
    expect(await broker.features.redrive.job(id)).toMatchObject({ state: 'done', sent: 3, skipped: {} });
    expect((await broker.read('orders')).slice(3)).toMatchObject(
      [0, 1, 2].map((at) => ({
        key: `k${at}`,
        value: `v${at}`,
        timestamp: 1_000,
        headers: { own: String(at), 'rmq-redrive-times': '1' },
      })),
    );
    expect(Object.keys((await broker.read('orders'))[3]!.headers)).toEqual(['own', 'rmq-redrive-times']);
    expect(lines.filter((line) => line['audit'] === 'dead-letters')).toMatchObject([
      { message: 'a redrive of dead letters began', group: 'g', to: 'origin' },
      { message: 'a redrive of dead letters ended', job: id, sent: 3 },
    ]);
  });

  it('go to the retry topic for the group alone, counted anew, and elsewhere; one or those that pass', async () => {
    const broker = await withLetters(4);
    await broker.create('elsewhere', 3);
    await begin(broker, { to: 'retry', only: { partition: 0, offset: 2 } });
    await begin(broker, { to: { topic: 'elsewhere' }, filter: { reason: 'requested' } });
    await broker.pass(10_000);
    expect(await broker.read('retry.g')).toMatchObject([
      {
        value: 'v2',
        headers: { 'rmq-reconsume-times': '0', 'rmq-redrive-times': '1', 'rmq-origin': 'orders/0/2' },
      },
    ]);
    expect((await broker.read('elsewhere')).map(({ value }) => value).sort()).toEqual(['v1', 'v3']);
    expect(await broker.read('orders')).toHaveLength(4);
  });

  it('do not go round for ever', async () => {
    const broker = await withLetters(1);
    for (let round = 1; round <= 2; round++) {
      await begin(broker, { maxRedrives: 2, only: { partition: 0, offset: round - 1 } });
      await broker.pass(5_000);
      // It fails again, where it was sent.
      await broker.nack('g', `orders/0/${round}`);
      expect((await broker.read('dlq.g'))[round]!.headers['rmq-redrive-times']).toBe(String(round));
    }
    const { id } = await begin(broker, { maxRedrives: 2, only: { partition: 0, offset: 2 } });
    await broker.pass(5_000);
    expect(await broker.features.redrive.job(id)).toMatchObject({ sent: 0, skipped: { 'loop-guard': 1 } });
    for (const [topic, words] of [
      ['dlq.g', 'cannot be sent on to dlq.g'],
      ['retry.g', 'cannot be sent on to retry.g'],
      ['nowhere', 'There is no topic nowhere'],
    ]) {
      expect(await broker.features.redrive.begin(asked({ to: { topic: topic! } }))).toMatch(words!);
    }
  });

  it('go as fast as was said, can be stopped and taken up again, also by a broker that starts', async () => {
    const broker = await withLetters(40);
    const { id } = await begin(broker, { rate: 10 });
    await broker.pass(2_000);
    const early = (await broker.read('orders')).length - 40;
    expect(early).toBeGreaterThan(5);
    expect(early).toBeLessThanOrEqual(22);
    await broker.features.redrive.setState(id, 'stopped');
    await broker.pass(60_000);
    expect((await broker.read('orders')).length - 40).toBe(early);
    expect(await broker.features.redrive.setState(id, 'running')).toMatchObject({ state: 'running' });
    await broker.pass(500);
    await broker.stop();
    running.splice(0);
    const again = await RetryBroker.start({ engine: broker.engine, clock: broker.clock, log });
    running.push(again);
    await again.pass(10_000);
    expect(await again.features.redrive.job(id)).toMatchObject({ state: 'done', sent: 40 });
    const values = (await again.read('orders')).slice(40).map(({ value }) => value);
    expect(values).toEqual(Array.from({ length: 40 }, (_, at) => `v${at}`));
    expect(await again.features.redrive.setState(id, 'running')).toBeUndefined();
  });

  it('without a body take it from where they came, where it still is', async () => {
    const broker = await withLetters(2, { 'errors.deadletterqueue.copy.record.enable': 'false' });
    expect((await broker.read('dlq.g')).map(({ value }) => value)).toEqual([null, null]);
    await broker.create('elsewhere', 1);
    await begin(broker, { to: { topic: 'elsewhere' } });
    await broker.pass(5_000);
    expect((await broker.read('elsewhere')).map(({ key, value }) => [key, value])).toEqual([
      ['k0', 'v0'],
      ['k1', 'v1'],
    ]);
    await broker.engine.trim(broker.topics.get('orders')!.partitions[0]!.queue, 2);
    expect(await broker.features.redrive.dryRun(asked())).toMatchObject({
      sent: 0,
      skipped: { 'no-record': 2 },
    });
  });
});
