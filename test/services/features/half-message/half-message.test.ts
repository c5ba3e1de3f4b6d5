import { afterEach, describe, expect, it } from 'vitest';
import { errorCodes } from '../../../../protocol/error-codes.ts';
import type { CodecName } from '../../../../protocol/records/compression.ts';
import { readsTopic } from '../../../../src/services/features/half-message/check-readers.ts';
import { encodePending, readHalf } from '../../../../src/services/features/half-message/half-row.ts';
import { openMemoryEngine } from '../../../../src/storage/memory/memory-engine.ts';
import { VirtualClock } from '../../../../src/util/clock.ts';
import { batchFormat } from '../delay-scenario.ts';
import { HalfBroker, type HalfBrokerOptions, half } from './half-broker.ts';

const { INVALID_RECORD, NONE } = errorCodes;
const brokers: HalfBroker[] = [];

async function start(options: Partial<HalfBrokerOptions> = {}): Promise<HalfBroker> {
  const clock = new VirtualClock(1_000_000);
  const engine = openMemoryEngine({ payloadFormat: batchFormat, clock });
  const broker = await HalfBroker.start({ engine, clock, ...options });
  brokers.push(broker);
  return broker;
}

afterEach(async () => {
  for (const broker of brokers.splice(0)) await broker.stop();
});

const values = (seen: readonly { readonly value: string | null }[]) => seen.map(({ value }) => value);

describe('a half message', () => {
  it('is seen by nobody until it is committed', async () => {
    const broker = await start();
    expect(await broker.produce('orders', [half('t1', 'paid')])).toMatchObject({
      errorCode: NONE,
      baseOffset: -1,
    });
    expect(await broker.read('orders')).toEqual([]);
    expect(await broker.decide('t1', 'commit')).toMatchObject({ errorCode: NONE });
    expect(await broker.read('orders')).toEqual([{ key: 'k', value: 'paid', headers: {}, offset: 0 }]);
  });

  it('is never seen once it is rolled back', async () => {
    const broker = await start();
    await broker.produce('orders', [half('t1', 'paid')]);
    expect(await broker.decide('t1', 'rollback')).toMatchObject({ errorCode: NONE });
    await broker.pass(1_000_000);
    expect(await broker.read('orders')).toEqual([]);
    expect(await broker.read('txn.check.shop')).toEqual([]);
  });

  it('does not hold up the partition', async () => {
    const broker = await start();
    await broker.produce('orders', [half('t1', 'later')]);
    expect(await broker.produce('orders', [{ value: 'now' }])).toMatchObject({
      errorCode: NONE,
      baseOffset: 0,
    });
    await broker.decide('t1', 'commit');
    expect(values(await broker.read('orders'))).toEqual(['now', 'later']);
  });

  for (const codec of ['none', 'gzip', 'snappy', 'lz4', 'zstd'] satisfies CodecName[]) {
    it(`is found in a batch of others (${codec})`, async () => {
      const broker = await start();
      const records = [
        { value: 'a' },
        half('t1', 'b'),
        { value: 'c', headers: { own: 'x' } },
        half('t2', 'd'),
      ];
      expect(await broker.produce('orders', records, { codec })).toMatchObject({
        errorCode: NONE,
        baseOffset: -1,
      });
      expect(values(await broker.read('orders'))).toEqual(['a', 'c']);
      await broker.decide('t2', 'commit');
      await broker.decide('t1', 'commit');
      expect(values(await broker.read('orders'))).toEqual(['a', 'c', 'd', 'b']);
    });
  }

  it('is kept once, however often it is sent', async () => {
    const broker = await start();
    await broker.produce('orders', [half('t1', 'first')]);
    await broker.produce('orders', [half('t1', 'again')]);
    await broker.decide('t1', 'commit');
    expect(await broker.produce('orders', [half('t1', 'and again')])).toMatchObject({ errorCode: NONE });
    expect(await broker.decide('t1', 'commit')).toMatchObject({ errorCode: NONE });
    expect(values(await broker.read('orders'))).toEqual(['first']);
  });

  it('counts in the sequences of an idempotent producer, with what follows it', async () => {
    const broker = await start();
    const producer = (sequence: number) => ({ producer: [7, sequence] as const });
    const sent = [
      broker.produce('orders', [half('t1', 'a'), { value: 'b' }], producer(0)),
      broker.produce('orders', [{ value: 'c' }], producer(2)),
      broker.produce('orders', [half('t2', 'd')], producer(3)),
      broker.produce('orders', [{ value: 'e' }], producer(4)),
    ];
    for (const result of await Promise.all(sent)) expect(result.errorCode).toBe(NONE);
    expect(await broker.produce('orders', [half('t2', 'd')], producer(3))).toMatchObject({ errorCode: NONE });
    expect(values(await broker.read('orders'))).toEqual(['b', 'c', 'e']);
    expect(await broker.produce('orders', [{ value: 'x' }], producer(9))).toMatchObject({
      errorCode: errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER,
    });
  });

  it('begins its delay when it is committed', async () => {
    const broker = await start({ messageType: 'MIXED' });
    await broker.produce('orders', [half('t1', 'paid', { 'rmq-delay-ms': '5000' })]);
    await broker.pass(4_000);
    await broker.decide('t1', 'commit');
    await broker.pass(4_999);
    expect(await broker.read('orders')).toEqual([]);
    await broker.pass(1);
    expect(await broker.read('orders')).toMatchObject([
      { value: 'paid', headers: { 'rmq-due-ms': '1009000' } },
    ]);
  });

  const wrong: readonly (readonly [string, Record<string, string>])[] = [
    ['another word than half', { 'rmq-txn': 'whole' }],
    ['no transaction id', { 'rmq-txn-id': '' }],
    ['a transaction id that is too long', { 'rmq-txn-id': 'x'.repeat(256) }],
    ['no producer group', { 'rmq-producer-group': '' }],
    ['a time that is none', { 'rmq-txn-immunity-ms': '-1' }],
    ['a time without end', { 'rmq-txn-immunity-ms': '999999999999' }],
    ['a delay where there are none', { 'rmq-delay-ms': '1' }],
    ['a word to retries', { 'rmq-retry-action': 'dlq' }],
  ];
  for (const [what, headers] of wrong) {
    it(`is refused with ${what}`, async () => {
      const broker = await start();
      const result = await broker.produce('orders', [{ value: 'a' }, half('t1', 'b', headers)]);
      expect(result.errorCode).toBe(INVALID_RECORD);
      expect(result.recordErrors).toMatchObject([{ batchIndex: 1 }]);
      expect(await broker.read('orders')).toEqual([]);
    });
  }

  it('is refused on a topic that takes none, with the setting named', async () => {
    const broker = await start();
    const result = await broker.produce('plain', [half('t1', 'a')]);
    expect(result).toMatchObject({ errorCode: INVALID_RECORD });
    expect(result.errorMessage).toContain('rmq.message.type must be TRANSACTION or MIXED');
  });

  it('is refused inside a Kafka transaction', async () => {
    const broker = await start();
    const result = await broker.produce('orders', [half('t1', 'a')], {
      producer: [7, 0],
      transactionalId: 'tx',
    });
    expect(result).toMatchObject({ errorCode: INVALID_RECORD });
    expect(result.errorMessage).toContain('cannot be part of a Kafka transaction');
  });

  it('is refused where its operation topic is a plain one', async () => {
    const broker = await start();
    const overrides = new Map<string, string>();
    const request = { name: 'txn.op.shop', partitions: 1, replicationFactor: -1, assignments: [], overrides };
    await broker.topics.create([request], false);
    expect(await broker.produce('orders', [half('t1', 'a')])).toMatchObject({ errorCode: INVALID_RECORD });
  });

  it('is refused where its operation topic is that of another group', async () => {
    const broker = await start();
    const overrides = new Map([
      ['rmq.role', 'txn-op'],
      ['rmq.producer.group', 'other'],
    ]);
    const request = { name: 'txn.op.shop', partitions: 1, replicationFactor: -1, assignments: [], overrides };
    await broker.topics.create([request], false);
    const refused = await broker.produce('orders', [half('t1', 'a')]);
    expect(refused.errorMessage).toContain('rmq.producer.group must be shop');
  });

  it('takes no room where it is known already', async () => {
    const broker = await start();
    await broker.produce('orders', [half('t1', 'a')]);
    const bytes = broker.engine.sizes().totalBytes;
    await broker.produce('orders', [half('t1', 'a')]);
    expect(broker.engine.sizes().totalBytes).toBe(bytes);
  });
});

describe('a decision', () => {
  it('counts when it is the first', async () => {
    const broker = await start();
    await broker.produce('orders', [half('t1', 'a')]);
    await broker.decide('t1', 'rollback');
    expect(await broker.decide('t1', 'rollback')).toMatchObject({ errorCode: NONE });
    const late = await broker.decide('t1', 'commit');
    expect(late).toMatchObject({ errorCode: INVALID_RECORD });
    expect(late.errorMessage).toContain('rolled back since');
    expect(await broker.read('orders')).toEqual([]);
  });

  it('counts in the order in which they came, though many are under way', async () => {
    const broker = await start();
    const ids = Array.from({ length: 20 }, (_, n) => `t${n}`);
    await broker.produce(
      'orders',
      ids.map((id) => half(id, id)),
    );
    const answers = await Promise.all(
      ids.flatMap((id) => [broker.decide(id, 'commit'), broker.decide(id, 'rollback')]),
    );
    expect(answers.map(({ errorCode }) => errorCode)).toEqual(ids.flatMap(() => [NONE, INVALID_RECORD]));
    expect(values(await broker.read('orders')).sort()).toEqual([...ids].sort());
  });

  it('is refused about what nobody knows, and about what is no decision', async () => {
    const broker = await start();
    await broker.produce('orders', [half('t1', 'a')]);
    expect((await broker.decide('t9', 'commit')).errorMessage).toContain("no half message 't9'");
    expect((await broker.decide('t1', 'perhaps')).errorMessage).toContain('commit, rollback or unknown');
    expect(await broker.read('txn.op.shop')).toEqual([]);
  });

  it('is one of several in a batch, all or none', async () => {
    const broker = await start();
    await broker.produce('orders', [half('t1', 'a'), half('t2', 'b')]);
    const action = (key: string, verdict: string) => ({ key, headers: { 'rmq-txn-action': verdict } });
    const refused = await broker.produce('txn.op.shop', [action('t1', 'commit'), action('t3', 'commit')]);
    expect(refused.recordErrors).toMatchObject([{ batchIndex: 1 }]);
    expect(await broker.read('orders')).toEqual([]);
    const both = [action('t1', 'commit'), action('t2', 'rollback'), action('t1', 'commit')];
    expect(await broker.produce('txn.op.shop', both)).toMatchObject({ errorCode: NONE });
    expect(values(await broker.read('orders'))).toEqual(['a']);
  });

  it('is forgotten after a while, with its timers', async () => {
    const broker = await start({ settings: { 'rmq.txn.outcome.retention.ms': '1000' } });
    await broker.produce('orders', [half('t1', 'a')]);
    await broker.decide('t1', 'commit');
    await broker.pass(1_001);
    expect((await broker.decide('t1', 'commit')).errorMessage).toContain('no half message');
    expect(await broker.half.decisions.list(undefined, 10, undefined)).toEqual({
      halves: [],
      next: undefined,
    });
    expect(await broker.timers.list(undefined, 10)).toEqual([]);
  });
});

describe('a check', () => {
  it('is asked 6 s after the message, then every 30 s, 15 times; then the message is discarded', async () => {
    const broker = await start();
    await broker.produce('orders', [half('t1', 'a')]);
    await broker.pass(5_999);
    expect(await broker.read('txn.check.shop')).toEqual([]);
    await broker.pass(1);
    for (let times = 1; times <= 15; times++) {
      const checks = await broker.read('txn.check.shop');
      expect(checks).toHaveLength(times);
      expect(checks.at(-1)).toMatchObject({
        key: 't1',
        value: 'a',
        headers: {
          'rmq-txn-id': 't1',
          'rmq-producer-group': 'shop',
          'rmq-check-times': String(times),
          'rmq-real-topic': 'orders',
          'rmq-real-partition': '0',
          'rmq-born-ms': '1000000',
          'rmq-real-key': 'k',
        },
      });
      expect(await broker.read('txn.discard.shop')).toEqual([]);
      await broker.pass(30_000);
    }
    expect(await broker.read('txn.check.shop')).toHaveLength(15);
    expect(await broker.read('txn.discard.shop')).toMatchObject([{ key: 't1', value: 'a' }]);
    expect((await broker.decide('t1', 'commit')).errorMessage).toContain('discarded since');
    await broker.pass(10_000_000);
    expect(await broker.read('orders')).toEqual([]);
  });

  it('heeds the settings of the group and the immunity of the message', async () => {
    const broker = await start();
    await broker.groupConfigs.replace(
      'shop',
      new Map([
        ['rmq.txn.timeout.ms', '100'],
        ['rmq.txn.check.interval.ms', '200'],
        ['rmq.txn.check.max', '2'],
      ]),
      false,
    );
    await broker.produce('orders', [half('t1', 'a'), half('t2', 'b', { 'rmq-txn-immunity-ms': '1000' })]);
    await broker.pass(100);
    await broker.pass(200);
    expect((await broker.read('txn.check.shop')).map(({ key }) => key)).toEqual(['t1', 't1']);
    await broker.pass(200);
    expect((await broker.read('txn.discard.shop')).map(({ key }) => key)).toEqual(['t1']);
    await broker.pass(500);
    expect((await broker.read('txn.check.shop')).map(({ key }) => key)).toEqual(['t1', 't1', 't2']);
  });

  it('is answered by a decision, and unknown is asked again', async () => {
    const broker = await start();
    await broker.produce('orders', [half('t1', 'a')]);
    await broker.pass(6_000);
    expect(await broker.decide('t1', 'unknown')).toMatchObject({ errorCode: NONE });
    await broker.pass(30_000);
    expect(await broker.read('txn.check.shop')).toHaveLength(2);
    await broker.decide('t1', 'commit');
    await broker.pass(300_000);
    expect(await broker.read('txn.check.shop')).toHaveLength(2);
    expect(values(await broker.read('orders'))).toEqual(['a']);
  });

  it('counts only where somebody could answer; age bounds the rest', async () => {
    const broker = await start({ settings: { 'rmq.txn.max.age.ms': '3600000' } });
    broker.someoneIsThere = false;
    await broker.produce('orders', [half('t1', 'a')]);
    await broker.pass(6_000);
    for (let times = 0; times < 20; times++) await broker.pass(30_000);
    expect(await broker.read('txn.check.shop')).toEqual([]);
    broker.someoneIsThere = true;
    await broker.pass(30_000);
    expect(await broker.read('txn.check.shop')).toMatchObject([{ headers: { 'rmq-check-times': '1' } }]);
    broker.someoneIsThere = false;
    await broker.pass(3_600_000);
    expect(await broker.read('txn.discard.shop')).toMatchObject([
      { headers: { 'rmq-discard-reason': 'nobody decided in rmq.txn.max.age.ms' } },
    ]);
  });

  it('is not made again, and does not count, while the one before it lies unread', async () => {
    const broker = await start();
    const times = async () =>
      (await broker.read('txn.check.shop')).map(({ headers }) => headers['rmq-check-times']);
    broker.checksRead.set(0, 0);
    await broker.produce('orders', [half('t1', 'a')]);
    await broker.pass(6_000);
    expect(await times()).toEqual(['1']);
    for (let interval = 0; interval < 10; interval++) await broker.pass(30_000);
    expect(await times()).toEqual(['1']);
    // Read, and not answered: from now on as ever.
    broker.checksRead.set(0, 1);
    await broker.pass(30_000);
    expect(await times()).toEqual(['1', '2']);
    // Others' checks between them do not matter.
    await broker.produce('orders', [half('t2', 'b')]);
    await broker.pass(6_000);
    broker.checksRead.set(0, 2);
    for (let interval = 0; interval < 3; interval++) await broker.pass(30_000);
    expect(await times()).toEqual(['1', '2', '1', '3']);
    await broker.decide('t2', 'commit');
    expect(values(await broker.read('orders'))).toEqual(['b']);
  });

  it('is made again after very long though nobody read it, and gives no message up', async () => {
    const broker = await start({ settings: { 'rmq.txn.check.max': '1' } });
    broker.checksRead.set(0, 0);
    await broker.produce('orders', [half('t1', 'a')]);
    await broker.pass(6_000);
    for (let interval = 0; interval < 19; interval++) await broker.pass(30_000);
    expect(await broker.read('txn.check.shop')).toHaveLength(1);
    for (let interval = 0; interval < 2; interval++) await broker.pass(30_000);
    expect(await broker.read('txn.check.shop')).toMatchObject([
      { headers: { 'rmq-check-times': '1' } },
      { headers: { 'rmq-check-times': '1' } },
    ]);
    expect(await broker.read('txn.discard.shop')).toEqual([]);
    broker.checksRead.set(0, 2);
    for (let interval = 0; interval < 2; interval++) await broker.pass(30_000);
    expect(values(await broker.read('txn.discard.shop'))).toEqual(['a']);
  });

  it('stands in rows of before and of now', () => {
    const before = {
      state: 'pending',
      source: { queue: 3, offset: 2 ** 40 },
      checkAtMs: 1,
      checks: 2,
      bornMs: 3,
      topicId: 'AAAAAAAAAAAAAAAAAAAAAA',
      partition: 4,
      maxTimestampMs: -1,
      sizeBytes: 5,
      delay: { atMs: 6 },
    } as const;
    expect(readHalf(encodePending(before))).toEqual(before);
    const now = { ...before, asked: { partition: 7, offset: 2 ** 41, atMs: 8 } };
    expect(readHalf(encodePending(now))).toEqual(now);
  });

  it('goes by HTTP to where it is allowed, and its answer decides', async () => {
    const asked: { url: string; body: Record<string, unknown> }[] = [];
    const broker = await start({
      settings: { 'rmq.txn.check.url.allow': 'http://127.0.0.1:9' },
      post: async (url, { body }) => {
        asked.push({ url, body: JSON.parse(body) as Record<string, unknown> });
        return new Response('{"action":"commit"}');
      },
    });
    broker.someoneIsThere = false;
    const settings = new Map([['rmq.txn.check.url', 'http://127.0.0.1:9/check']]);
    await broker.groupConfigs.replace('shop', settings, false);
    await broker.produce('orders', [half('t1', 'a')]);
    await broker.pass(6_000);
    expect(asked).toMatchObject([
      {
        url: 'http://127.0.0.1:9/check',
        body: { txnId: 't1', checkTimes: 1, topic: 'orders', value: 'YQ==' },
      },
    ]);
    expect(values(await broker.read('orders'))).toEqual(['a']);
  });

  it('goes nowhere that is not allowed', async () => {
    let asked = 0;
    const broker = await start({
      settings: { 'rmq.txn.check.url.allow': 'http://127.0.0.1:9' },
      post: async () => {
        asked++;
        throw new Error('asked');
      },
    });
    for (const url of ['http://127.0.0.1:99/', 'file:///etc/passwd', 'http://x@127.0.0.1:9/', 'nonsense']) {
      await broker.groupConfigs.replace('shop', new Map([['rmq.txn.check.url', url]]), false);
      await broker.produce('orders', [half(url, 'a')]);
      await broker.pass(6_000);
    }
    expect(asked).toBe(0);
  });

  it('by HTTP does not count where the address does not answer or is not allowed', async () => {
    let answer: () => Response = () => {
      throw new Error('nobody listens');
    };
    let asked = 0;
    const broker = await start({
      settings: { 'rmq.txn.check.url.allow': 'http://127.0.0.1:9' },
      post: async () => {
        asked++;
        return answer();
      },
    });
    broker.someoneIsThere = false;
    const set = (url: string) =>
      broker.groupConfigs.replace(
        'shop',
        new Map([
          ['rmq.txn.check.url', url],
          ['rmq.txn.check.max', '2'],
        ]),
        false,
      );
    await set('http://127.0.0.1:9/');
    await broker.produce('orders', [half('t1', 'a')]);
    await broker.pass(6_000);
    const checks = async () => (await broker.half.decisions.list('shop', 10, undefined))!.halves[0]!.checks;
    // That it does not answer is known from the first.
    expect([asked, await checks()]).toEqual([1, 1]);
    for (let times = 0; times < 5; times++) await broker.pass(30_000);
    expect([asked, await checks()]).toEqual([6, 1]);
    answer = () => new Response('{"action":"unknown"}');
    await broker.pass(30_000);
    expect([asked, await checks()]).toEqual([7, 1]);
    answer = () => new Response('x'.repeat(5000));
    await broker.pass(30_000);
    expect([asked, await checks()]).toEqual([8, 2]);
    expect(broker.half.callback.failed).toBe(7);
    await broker.pass(30_000);
    expect(await broker.read('txn.discard.shop')).toHaveLength(1);

    await set('http://127.0.0.1:10/');
    await broker.produce('orders', [half('t2', 'b')]);
    for (let times = 0; times < 5; times++) await broker.pass(30_000);
    expect(await broker.read('txn.discard.shop')).toHaveLength(1);
    expect(asked).toBe(8);
  });

  it('waits its turn where very many are asked by HTTP at once', async () => {
    const asked = new Set<unknown>();
    const answers: (() => void)[] = [];
    const broker = await start({
      settings: { 'rmq.txn.check.url.allow': 'http://127.0.0.1:9' },
      post: async (_url, { body }) => {
        asked.add((JSON.parse(body) as Record<string, unknown>).txnId);
        await new Promise<void>((resolve) => answers.push(resolve));
        return new Response('{"action":"commit"}');
      },
    });
    broker.someoneIsThere = false;
    await broker.groupConfigs.replace('shop', new Map([['rmq.txn.check.url', 'http://127.0.0.1:9/']]), false);
    const many = Array.from({ length: 100 }, (_, n) => half(`t${n}`, 'a'));
    await broker.produce('orders', many);
    await broker.pass(6_000);
    expect(asked.size).toBe(64);
    for (const answer of answers.splice(0)) answer();
    await broker.pass(1_000);
    expect(asked.size).toBe(100);
    for (const answer of answers.splice(0)) answer();
    await broker.pass(1);
    expect(await broker.read('orders')).toHaveLength(100);
  });

  it('of many large messages is made for a few of them at a time', async () => {
    const broker = await start();
    for (let n = 0; n < 20; n++) await broker.produce('orders', [half(`t${n}`, 'x'.repeat(900_000))]);
    const due = (await broker.timers.list(undefined, 100)).filter(({ kind }) => kind === 3);
    expect(due).toHaveLength(20);
    expect(await broker.half.checks.prepare(due)).toHaveLength(10);
    await broker.pass(6_000);
    expect(await broker.read('txn.check.shop')).toHaveLength(20);
  });

  it('says where the message was to go, whatever headers a forwarded one brings', async () => {
    const broker = await start();
    const forwarded = { 'rmq-real-topic': 'plain', 'rmq-real-partition': '1', 'rmq-discard-reason': 'old' };
    await broker.groupConfigs.replace('shop', new Map([['rmq.txn.check.max', '1']]), false);
    await broker.produce('orders', [half('t1', 'a', forwarded)]);
    await broker.pass(6_000);
    await broker.pass(30_000);
    const [discarded] = await broker.read('txn.discard.shop');
    expect(await broker.half.redrive.redrive('shop', 0, discarded!.offset)).toMatchObject({
      topic: 'orders',
      partition: 0,
    });
    expect(await broker.read('orders')).toMatchObject([{ key: 'k', value: 'a', headers: forwarded }]);
  });
});

describe('members of a group', () => {
  const member = (...topics: string[]) => ({
    memberId: 'm',
    clientId: 'c',
    clientHost: 'h',
    memberAssignment: Buffer.alloc(0),
    memberMetadata: Buffer.concat([
      Buffer.from([0, 1, 0, 0, 0, topics.length]),
      ...topics.flatMap((topic) => [Buffer.from([0, topic.length]), Buffer.from(topic)]),
      Buffer.from([255, 255, 255, 255]),
    ]),
  });
  const reads = (members: ReturnType<typeof member>[], protocolType = 'consumer') =>
    readsTopic({ members, protocolType }, 'txn.check.shop');

  it('could answer where one of them reads the check topic', () => {
    expect(reads([])).toBe(false);
    expect(reads([member('orders')])).toBe(false);
    expect(reads([member('orders'), member('a', 'txn.check.shop')])).toBe(true);
    expect(reads([{ ...member(), memberMetadata: Buffer.alloc(0) }])).toBe(false);
    expect(reads([{ ...member(), memberMetadata: Buffer.from('0001ffffffff7fff', 'hex') }])).toBe(false);
    expect(reads([member('orders')], 'connect')).toBe(true);
  });
});

describe('a discarded half message', () => {
  it('is sent on when an operator says so, once', async () => {
    const broker = await start();
    await broker.groupConfigs.replace('shop', new Map([['rmq.txn.check.max', '1']]), false);
    await broker.produce('orders', [half('t1', 'a', { own: 'x' })]);
    await broker.pass(6_000);
    await broker.pass(30_000);
    const [discarded] = await broker.read('txn.discard.shop');
    expect(await broker.half.redrive.redrive('shop', 0, discarded!.offset)).toMatchObject({
      outcome: 'sent',
    });
    expect(await broker.read('orders')).toEqual([{ key: 'k', value: 'a', headers: { own: 'x' }, offset: 0 }]);
    const again = await broker.half.redrive.redrive('shop', 0, discarded!.offset);
    expect(again).toEqual({ outcome: 'refused', message: 'The half message is committed' });
    expect(await broker.half.redrive.redrive('shop', 0, 77)).toMatchObject({ outcome: 'refused' });
  });
});

it('gives the room of decided half messages back', async () => {
  const broker = await start();
  for (let n = 0; n < 20; n++) await broker.produce('orders', [half(`t${n}`, 'x'.repeat(1000))]);
  for (let n = 0; n < 20; n++)
    if (n !== 10) await broker.decide(`t${n}`, n % 2 === 0 ? 'commit' : 'rollback');
  expect(await broker.trim.runOnce()).toBeGreaterThan(0);
  await broker.decide('t10', 'commit');
  expect(values(await broker.read('orders')).at(-1)).toBe('x'.repeat(1000));
  expect(await broker.read('orders')).toHaveLength(10);
});
