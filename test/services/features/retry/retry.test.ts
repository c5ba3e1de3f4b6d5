import { afterEach, describe, expect, it } from 'vitest';
import { errorCodes } from '../../../../protocol/error-codes.ts';
import { VirtualClock } from '../../../../src/util/clock.ts';
import { memoryEngine } from '../../../handlers/admin-broker.ts';
import { pointer, RetryBroker, type SeenRecord } from './retry-broker.ts';

const table = [10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
const running: RetryBroker[] = [];

async function start(settings: Record<string, string> = {}): Promise<RetryBroker> {
  const clock = new VirtualClock(1_700_000_000_000);
  const broker = await RetryBroker.start({ engine: memoryEngine(), clock, settings });
  running.push(broker);
  return broker;
}

async function withGroup(values: Record<string, string> = {}): Promise<RetryBroker> {
  const broker = await start();
  expect(await broker.set('g', { 'rmq.retry.enable': 'true', ...values })).toBeUndefined();
  return broker;
}

afterEach(async () => {
  for (const broker of running.splice(0)) await broker.stop();
});

const placeOf = (topic: string, { partition, offset }: SeenRecord) => `${topic}/${partition}/${offset}`;
const hidden = { errorCode: 0, baseOffset: -1, errorMessage: null };

describe('a record that fails', () => {
  it('comes again by the table of RocketMQ, and is a dead letter after sixteen retries', async () => {
    const broker = await withGroup();
    await broker.produce('orders', [
      { key: 'k1', value: 'first', headers: { trace: 'abc' }, timestamp: 5_000 },
      { key: 'k2', value: 'second' },
    ]);
    let place = 'orders/0/0';
    for (const [at, seconds] of table.entries()) {
      const retried = at + 1;
      expect(await broker.nack('g', place, { 'rmq-error': `failure ${retried}` })).toMatchObject(hidden);
      await broker.pass(seconds * 1_000 - 1);
      expect(await broker.read('retry.g'), `attempt ${retried} is not early`).toHaveLength(at);
      await broker.pass(1);
      const retries = await broker.read('retry.g');
      expect(retries, `attempt ${retried} after ${seconds} s`).toHaveLength(retried);
      expect(retries[at]).toEqual({
        key: 'k1',
        value: 'first',
        partition: 0,
        offset: at,
        timestamp: 5_000,
        headers: {
          trace: 'abc',
          'rmq-reconsume-times': String(retried),
          'rmq-max-reconsume-times': '16',
          'rmq-retry-topic': 'orders',
          'rmq-origin': 'orders/0/0',
          'rmq-origin-message-id': `${broker.topics.get('orders')!.id}-0-0`,
          'rmq-born-ms': '5000',
          'rmq-error': `failure ${retried}`,
        },
      });
      place = placeOf('retry.g', retries[at]!);
    }
    // The last failure does not wait.
    expect(await broker.nack('g', place)).toMatchObject(hidden);
    const [letter, ...others] = await broker.read('dlq.g');
    expect(others).toEqual([]);
    expect(letter).toMatchObject({
      key: 'k1',
      value: 'first',
      timestamp: 5_000,
      headers: {
        trace: 'abc',
        '__dlq.errors.topic': 'orders',
        '__dlq.errors.partition': '0',
        '__dlq.errors.offset': '0',
        '__dlq.errors.group': 'g',
        '__dlq.errors.delivery.count': '17',
        '__dlq.errors.message': 'failure 16',
        'rmq-dlq-reason': 'exhausted',
        'rmq-reconsume-times': '16',
        'rmq-max-reconsume-times': '16',
        'rmq-origin': 'orders/0/0',
      },
    });
    await broker.pass(100_000_000);
    expect(await broker.read('retry.g')).toHaveLength(16);
    expect(await broker.read('orders')).toHaveLength(2);
    expect(broker.features.retry.figures).toMatchObject({ scheduled: 16, delivered: 16, repeated: 0 });
  });

  it('is counted the same in the copy form, from the headers that came with the retry', async () => {
    const broker = await withGroup({ 'rmq.retry.max.times': '2' });
    const copy = (record: SeenRecord) => ({
      key: record.key!,
      value: record.value!,
      headers: record.headers,
    });
    await broker.produce('retry.g', [{ key: 'k', value: 'v', headers: { own: '1' } }]);
    await broker.pass(10_000);
    const [first] = await broker.read('retry.g');
    expect(first).toMatchObject({ value: 'v', headers: { own: '1', 'rmq-reconsume-times': '1' } });
    expect(first!.headers['rmq-origin']).toBeUndefined();
    await broker.produce('retry.g', [copy(first!)]);
    await broker.pass(30_000);
    const second = (await broker.read('retry.g'))[1]!;
    expect(second.headers['rmq-reconsume-times']).toBe('2');
    await broker.produce('retry.g', [copy(second)]);
    const [letter] = await broker.read('dlq.g');
    expect(letter).toMatchObject({
      value: 'v',
      headers: { own: '1', 'rmq-dlq-reason': 'exhausted', '__dlq.errors.delivery.count': '3' },
    });
  });

  it('may be a tombstone, by pointer and by copy', async () => {
    const broker = await withGroup({ 'rmq.retry.delays': '1s' });
    await broker.produce('orders', [{ key: 'gone' }]);
    await broker.nack('g', 'orders/0/0');
    await broker.pass(1_000);
    const [retry] = await broker.read('retry.g');
    expect(retry).toMatchObject({ key: 'gone', value: null });
    await broker.produce('retry.g', [{ key: 'gone', headers: retry!.headers }]);
    await broker.pass(1_000);
    expect((await broker.read('retry.g'))[1]).toMatchObject({
      key: 'gone',
      value: null,
      headers: { 'rmq-reconsume-times': '2', 'rmq-origin': 'orders/0/0' },
    });
  });

  it('waits as long as its consumer says, and becomes a dead letter at once where it says so', async () => {
    const broker = await withGroup();
    await broker.produce('orders', [{ value: 'a' }, { value: 'b' }, { value: 'c' }]);
    expect(
      await broker.produce('retry.g', [
        pointer('orders/0/0', { 'rmq-retry-delay-ms': '0' }),
        pointer('orders/0/1', { 'rmq-retry-delay-ms': '1234' }),
        pointer('orders/0/2', { 'rmq-retry-action': 'dlq', 'rmq-error': 'no good' }),
      ]),
    ).toMatchObject(hidden);
    expect((await broker.read('retry.g')).map(({ value }) => value)).toEqual(['a']);
    expect(await broker.read('dlq.g')).toMatchObject([
      { value: 'c', headers: { 'rmq-dlq-reason': 'requested', '__dlq.errors.message': 'no good' } },
    ]);
    await broker.pass(1_233);
    expect(await broker.read('retry.g')).toHaveLength(1);
    await broker.pass(1);
    expect((await broker.read('retry.g')).map(({ value }) => value)).toEqual(['a', 'b']);
  });

  it('comes once however often its failure is told of, until rmq.retry.dedup.ms is over', async () => {
    const broker = await withGroup({ 'rmq.retry.dedup.ms': '60000' });
    await broker.produce('orders', [{ value: 'a' }]);
    await broker.nack('g', 'orders/0/0');
    await broker.nack('g', 'orders/0/0');
    await broker.produce('retry.g', [pointer('orders/0/0'), pointer('orders/0/0')]);
    await broker.pass(59_999);
    expect(await broker.read('retry.g')).toHaveLength(1);
    await broker.nack('g', 'orders/0/0');
    await broker.pass(10_000);
    expect(await broker.read('retry.g')).toHaveLength(1);
    expect(broker.features.retry.figures.repeated).toBe(4);
    // The row is forgotten, and a failure told of now is a new one.
    await broker.nack('g', 'orders/0/0');
    await broker.pass(10_000);
    expect(await broker.read('retry.g')).toHaveLength(2);
  });

  it('keeps its key on one partition of the retry topic, wherever the pointer was produced', async () => {
    const broker = await start();
    await broker.create('retry.g', 4);
    expect(await broker.set('g', { 'rmq.retry.enable': 'true', 'rmq.retry.delays': '1s' })).toBeUndefined();
    await broker.produce('orders', [{ key: 'a', value: '1' }, { key: 'a', value: '2' }, { value: '3' }]);
    for (const partition of [0, 1]) await broker.nack('g', `orders/0/${partition}`, {}, { partition });
    await broker.nack('g', 'orders/0/2', {}, { partition: 3 });
    await broker.pass(1_000);
    const seen = await broker.read('retry.g');
    const partitions = (value: string) => seen.find((record) => record.value === value)?.partition;
    expect(partitions('1')).toBe(partitions('2'));
    expect(partitions('3')).toBe(3);
  });

  it('goes through every codec, beside others, byte for byte', async () => {
    const broker = await withGroup({ 'rmq.retry.delays': '1s' });
    const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;
    for (const codec of codecs) {
      const from = (await broker.read('orders')).length;
      await broker.produce('orders', [{ value: 'x' }, { value: `of ${codec}`.repeat(50) }], { codec });
      const result = await broker.produce('retry.g', [pointer(`orders/0/${from + 1}`)], { codec });
      expect(result, codec).toMatchObject(hidden);
      await broker.produce('retry.g', [{ value: `copy of ${codec}` }], { codec });
    }
    await broker.pass(1_000);
    expect((await broker.read('retry.g')).map(({ value }) => value).sort()).toEqual(
      codecs.flatMap((codec) => [`of ${codec}`.repeat(50), `copy of ${codec}`]).sort(),
    );
  });

  it('is told of once by an idempotent producer that repeats itself, also where all was known', async () => {
    const broker = await withGroup();
    await broker.produce('orders', [{ value: 'a' }, { value: 'b' }]);
    expect(await broker.nack('g', 'orders/0/0', {}, { producer: [7, 0] })).toMatchObject(hidden);
    // The same batch again, as after a lost answer.
    expect(await broker.nack('g', 'orders/0/0', {}, { producer: [7, 0] })).toMatchObject(hidden);
    // Known already, but the sequence goes on.
    expect(await broker.nack('g', 'orders/0/0', {}, { producer: [7, 1] })).toMatchObject(hidden);
    const all = await Promise.all([
      broker.nack('g', 'orders/0/1', {}, { producer: [7, 2] }),
      broker.nack('g', 'orders/0/1', {}, { producer: [7, 3] }),
    ]);
    expect(all).toMatchObject([hidden, hidden]);
    expect(await broker.nack('g', 'orders/0/1', {}, { producer: [7, 9] })).toMatchObject({
      errorCode: errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER,
    });
    await broker.pass(10_000);
    expect((await broker.read('retry.g')).map(({ value }) => value).sort()).toEqual(['a', 'b']);
  });

  it('is dead without a body where its record is gone, so that nothing is lost unsaid', async () => {
    const broker = await withGroup();
    await broker.produce('orders', [{ value: 'a' }]);
    await broker.produce('orders', [{ value: 'b' }]);
    await broker.engine.trim(broker.topics.get('orders')!.partitions[0]!.queue, 1);
    expect(await broker.nack('g', 'orders/0/0')).toMatchObject(hidden);
    const [letter] = await broker.read('dlq.g');
    expect(letter).toMatchObject({
      value: null,
      headers: { 'rmq-dlq-reason': 'origin-gone', 'rmq-origin': 'orders/0/0' },
    });
  });

  it('is refused where what it says cannot be, record by record', async () => {
    const broker = await withGroup();
    await broker.set('other', { 'rmq.retry.enable': 'true' });
    await broker.produce('orders', [{ value: 'a' }]);
    for (const [headers, words] of [
      [{ 'rmq-origin': 'orders/0/1' }, 'orders-0 has no offset 1'],
      [{ 'rmq-origin': 'orders/7/0' }, 'There is no orders-7'],
      [{ 'rmq-origin': 'nothing/0/0' }, 'There is no nothing-0'],
      [{ 'rmq-origin': 'orders/0' }, 'must be <topic>/<partition>/<offset>'],
      [{ 'rmq-origin': 'retry.other/0/0' }, 'no concern of group g'],
      [{ 'rmq-origin': 'orders/0/0', 'rmq-retry-action': 'drop' }, 'must be retry or dlq'],
      [{ 'rmq-origin': 'orders/0/0', 'rmq-retry-delay-ms': '1s' }, 'decimal digits'],
      [{ 'rmq-origin': 'orders/0/0', 'rmq-retry-delay-ms': '259200001' }, 'at most 259200000'],
      [{ 'rmq-origin': 'orders/0/0', 'rmq-reconsume-times': 'x' }, 'must be a whole number'],
      [{ 'rmq-origin': 'orders/0/0', 'rmq-delay-ms': '5' }, 'rmq-retry-delay-ms says a delay'],
    ] as const) {
      const result = await broker.produce('retry.g', [pointer('orders/0/0'), { headers }]);
      expect(result.errorCode, words).toBe(errorCodes.INVALID_RECORD);
      expect(result.recordErrors).toMatchObject([{ batchIndex: 1 }]);
      expect(result.errorMessage).toContain(words);
    }
    await broker.pass(100_000);
    expect(await broker.read('retry.g')).toEqual([]);
  });

  it('cannot make the broker count anew but from a dead letter', async () => {
    const broker = await withGroup({ 'rmq.retry.max.times': '1', 'rmq.retry.delays': '1s' });
    await broker.produce('orders', [{ value: 'a', headers: { 'rmq-reconsume-times': '40' } }]);
    // What the record brings along says nothing, and is not handed on.
    await broker.nack('g', 'orders/0/0');
    await broker.pass(1_000);
    expect((await broker.read('retry.g'))[0]!.headers['rmq-reconsume-times']).toBe('1');
    await broker.nack('g', 'retry.g/0/0', { 'rmq-reconsume-times': '0' });
    expect(await broker.read('dlq.g')).toHaveLength(1);
    expect((await broker.nack('g', 'dlq.g/0/0')).errorMessage).toContain('as a dead letter already');
    expect(await broker.nack('g', 'dlq.g/0/0', { 'rmq-reconsume-times': '0' })).toMatchObject(hidden);
    await broker.pass(1_000);
    const again = (await broker.read('retry.g'))[1]!;
    expect(again.headers).toMatchObject({ 'rmq-reconsume-times': '1', 'rmq-origin': 'orders/0/0' });
    expect(again.headers['rmq-dlq-reason']).toBeUndefined();
  });
});

describe('a failure that is told of in a Kafka transaction', () => {
  async function inTransaction() {
    const broker = await withGroup({ 'rmq.retry.max.times': '1' });
    await broker.transactions.ensureTopic();
    await broker.produce('orders', [{ value: 'a' }, { value: 'b' }]);
    const facts = await broker.transactions.initProducerId('tx', 60_000, undefined);
    const send = (records: Parameters<RetryBroker['produce']>[1], sequence = 0) =>
      broker.produce('retry.g', records, {
        producer: [facts.producerId, sequence],
        transaction: { id: 'tx', epoch: facts.producerEpoch },
      });
    const end = (isCommit: boolean) => broker.transactions.endTransaction('tx', facts, isCommit, false);
    return { broker, send, end };
  }

  it('counts when it is committed, and then as any other', async () => {
    const { broker, send, end } = await inTransaction();
    const records = [
      pointer('orders/0/0', { 'rmq-error': 'e' }),
      { value: 'copied', headers: { 'rmq-reconsume-times': '1' } },
    ];
    expect(await send(records)).toMatchObject(hidden);
    expect(await send([pointer('orders/0/0')], 2)).toMatchObject(hidden);
    await broker.pass(30_000);
    expect([await broker.read('retry.g'), await broker.read('dlq.g')]).toEqual([[], []]);
    expect((await end(true)).errorCode).toBe(0);
    await broker.pass(0);
    expect(await broker.read('dlq.g')).toMatchObject([
      { value: 'copied', headers: { 'rmq-dlq-reason': 'exhausted' } },
    ]);
    await broker.pass(9_999);
    expect(await broker.read('retry.g')).toEqual([]);
    await broker.pass(1);
    // The second word of the same failure is none.
    expect(await broker.read('retry.g')).toMatchObject([
      { value: 'a', headers: { 'rmq-reconsume-times': '1', 'rmq-error': 'e', 'rmq-origin': 'orders/0/0' } },
    ]);
    expect(broker.features.retry.figures).toMatchObject({ scheduled: 1 });
  });

  it('is nothing when it is aborted', async () => {
    const { broker, send, end } = await inTransaction();
    await send([pointer('orders/0/0'), pointer('orders/0/1', { 'rmq-retry-action': 'dlq' })]);
    expect((await end(false)).errorCode).toBe(0);
    await broker.pass(100_000);
    expect([await broker.read('retry.g'), await broker.read('dlq.g')]).toEqual([[], []]);
    expect(broker.features.retry.figures).toMatchObject({ scheduled: 0 });
    // And nothing remembers it.
    await broker.nack('g', 'orders/0/0');
    await broker.pass(10_000);
    expect(await broker.read('retry.g')).toHaveLength(1);
  });

  it('is refused at once where it could never be, and dead where that shows at the commit only', async () => {
    const { broker, send, end } = await inTransaction();
    expect((await send([pointer('nothing/0/0')])).errorMessage).toMatch('There is no nothing-0');
    expect(await send([pointer('orders/0/99')])).toMatchObject(hidden);
    expect((await end(true)).errorCode).toBe(0);
    await broker.pass(0);
    expect(await broker.read('dlq.g')).toMatchObject([
      {
        value: null,
        headers: { 'rmq-dlq-reason': 'origin-gone', 'rmq-error': 'orders-0 has no offset 99 (rmq-origin)' },
      },
    ]);
  });
});

describe('retries of one group', () => {
  it('never reach another, and wait when the broker starts again', async () => {
    const broker = await withGroup();
    await broker.set('h', { 'rmq.retry.enable': 'true', 'rmq.retry.delays': '5s' });
    await broker.produce('orders', [{ value: 'a' }]);
    await broker.nack('g', 'orders/0/0');
    await broker.nack('h', 'orders/0/0');
    await broker.stop();
    const again = await RetryBroker.start({ engine: broker.engine, clock: broker.clock });
    running.push(again);
    await again.pass(5_000);
    expect(await again.read('retry.g')).toEqual([]);
    expect(await again.read('retry.h')).toHaveLength(1);
    await again.pass(5_000);
    expect(await again.read('retry.g')).toHaveLength(1);
    expect(await again.read('retry.h')).toHaveLength(1);
    expect(await again.read('orders')).toHaveLength(1);
  });
});

describe('the topics of a group with retries', () => {
  it('are made when retries are turned on, and nothing where the change may not stand', async () => {
    const broker = await start({ 'num.partitions': '3' });
    expect(await broker.set('g', { 'rmq.retry.enable': 'true', 'rmq.retry.delays': 'x' })).toMatch(
      'no delay',
    );
    expect(broker.topics.get('retry.g')).toBeUndefined();
    expect(await broker.set('g', { 'rmq.retry.enable': 'true' })).toBeUndefined();
    const overrides = Object.fromEntries(broker.topics.get('retry.g')!.overrides);
    expect(overrides).toEqual({ 'rmq.role': 'retry', 'rmq.retry.group': 'g' });
    expect(broker.topics.get('retry.g')!.partitions).toHaveLength(3);
    expect(broker.topics.get('dlq.g')!.settings.takesDeadLetters).toBe(true);
  });

  it('are taken over where they are empty, and refused where they are not', async () => {
    const broker = await start();
    await broker.create('retry.g', 5);
    await broker.create('retry.h', 1);
    await broker.produce('retry.h', [{ value: 'somebody else wrote this' }]);
    expect(await broker.set('g', { 'rmq.retry.enable': 'true' })).toBeUndefined();
    expect(broker.topics.get('retry.g')!.settings.role).toBe('retry');
    expect(await broker.set('h', { 'rmq.retry.enable': 'true' })).toMatch(
      'retry.h exists and is no empty retry topic',
    );
    expect(broker.groupConfigs.boolean('h', 'rmq.retry.enable')).toBe(false);
    // Another name is a way out; one that another group has is none.
    const other = { 'rmq.retry.enable': 'true', 'rmq.retry.topic': 'retry.g' };
    expect(await broker.set('h', other)).toMatch('has the retries of group g');
    expect(await broker.set('h', { ...other, 'rmq.retry.topic': 'retry-of-h' })).toBeUndefined();
    await broker.produce('orders', [{ value: 'a' }]);
    expect(await broker.produce('retry-of-h', [pointer('orders/0/0')])).toMatchObject(hidden);
    await broker.pass(10_000);
    expect(await broker.read('retry-of-h')).toHaveLength(1);
  });

  it('are known by their names where clients make them, if the group has retries on', async () => {
    const broker = await start({ 'rmq.retry.enable': 'true' });
    await broker.topics.autoCreate(['retry.any', 'dlq.any']);
    expect(broker.topics.get('retry.any')!.settings).toMatchObject({ role: 'retry', retryGroup: 'any' });
    expect(broker.topics.get('dlq.any')!.settings.takesDeadLetters).toBe(true);
    const plain = await start();
    await plain.topics.autoCreate(['retry.any', 'dlq.any']);
    expect(plain.topics.get('retry.any')!.settings.role).toBe('plain');
  });

  it('refuse pointers where they are plain ones, and what asks for retries stands nowhere else', async () => {
    const broker = await start();
    await broker.create('retry.any', 1);
    await broker.produce('orders', [{ value: 'a' }]);
    expect((await broker.nack('any', 'orders/0/0')).errorMessage).toMatch('turn on rmq.retry.enable');
    const zipped = await broker.nack('any', 'orders/0/0', {}, { codec: 'gzip' });
    expect(zipped.errorCode).toBe(errorCodes.INVALID_RECORD);
    const asked = await broker.produce('orders', [{ value: 'a', headers: { 'rmq-retry-action': 'dlq' } }]);
    expect(asked.errorMessage).toMatch('rmq.role must be retry');
    // What the broker told of a retry is the application's to send on.
    const told = { 'rmq-origin': 'orders/0/0', 'rmq-retry-topic': 'orders', 'rmq-reconsume-times': '3' };
    expect((await broker.produce('orders', [{ value: 'a', headers: told }])).errorCode).toBe(0);
    expect((await broker.produce('retry.any', [{ headers: told }])).errorCode).toBe(0);
    expect((await broker.produce('retry.any', [{ value: 'x' }])).errorCode).toBe(0);
  });

  it('take nothing while the group has retries off', async () => {
    const broker = await withGroup();
    await broker.produce('orders', [{ value: 'a' }]);
    await broker.nack('g', 'orders/0/0');
    await broker.set('g', { 'rmq.retry.enable': 'false' });
    expect((await broker.nack('g', 'orders/0/0')).errorMessage).toMatch('rmq.retry.enable must be true');
    // What waits comes still.
    await broker.pass(10_000);
    expect(await broker.read('retry.g')).toHaveLength(1);
  });
});
