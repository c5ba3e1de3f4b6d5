/** Half messages through kafkajs and odradek/kafkajs, against a whole broker. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Consumer, Kafka, logLevel, type Producer } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, createBroker } from '../../src/index.ts';
import { type Check, checkLocal, decide, executeLocal, isRefusal } from '../../src/kafkajs/index.ts';

const topic = 'orders';
let broker: Broker;
let kafka: Kafka;
let producer: Producer;
let consumer: Consumer;
const got: string[] = [];

beforeAll(async () => {
  broker = await createBroker({
    memory: true,
    admin: '127.0.0.1:0',
    config: {
      'num.partitions': '1',
      'group.initial.rebalance.delay.ms': '0',
      'transaction.abort.timed.out.transaction.cleanup.interval.ms': '100',
    },
  });
  kafka = new Kafka({
    brokers: [broker.bootstrapServers],
    logLevel: logLevel.NOTHING,
    retry: { retries: 1 },
  });
  producer = kafka.producer();
  await producer.connect();
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({
    topics: [{ topic, configEntries: [{ name: 'rmq.message.type', value: 'TRANSACTION' }] }],
  });
  await admin.disconnect();
  consumer = kafka.consumer({ groupId: 'readers', maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({ eachMessage: async ({ message }) => void got.push(message.value!.toString()) });
});

afterAll(async () => {
  await consumer.disconnect();
  await producer.disconnect();
  await broker.stop();
});

async function until(holds: () => boolean, waitMs = 20_000): Promise<void> {
  for (const end = Date.now() + waitMs; !holds(); await sleep(20)) {
    if (Date.now() > end) throw new Error('it did not come to that');
  }
}

/** What the answers of all routes have, taken together. */
interface Body {
  readonly error: string;
  readonly next: string | null;
  readonly settings: Readonly<Record<string, { readonly value: string | null; readonly isOwn: boolean }>>;
  readonly messages: readonly { readonly txnId: string; readonly state: string }[];
}

async function call(method: string, path: string, body?: unknown) {
  const answer = await fetch(`http://127.0.0.1:${broker.adminPort}/api/v1${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: (await answer.json()) as Body };
}

/** kafkajs has no resource type GROUP. */
async function hurry(group: string, more: Record<string, number> = {}): Promise<void> {
  const answer = await call('PATCH', `/groups/${group}/settings`, {
    'rmq.txn.timeout.ms': 100,
    'rmq.txn.check.interval.ms': 200,
    ...more,
  });
  expect(answer.status).toBe(200);
}

describe('executeLocal', () => {
  it('delivers what was committed and nothing else', async () => {
    const run = (value: string, verdict: 'commit' | 'rollback') =>
      executeLocal(producer, { topic, producerGroup: 'shop', message: { value } }, async () => {
        // Nobody sees it while the local transaction runs.
        expect(got).not.toContain(value);
        return { verdict, result: value.length };
      });
    expect(await run('paid', 'commit')).toBe(4);
    expect(await run('not paid', 'rollback')).toBe(8);
    expect(await run('paid, too', 'commit')).toBe(9);
    await until(() => got.length === 2);
    expect(got).toEqual(['paid', 'paid, too']);
  });

  it('tells of a verdict that came second', async () => {
    const late = executeLocal(
      producer,
      { topic, producerGroup: 'shop', txnId: 'late', message: { value: 'late' } },
      async (txnId) => {
        await decide(producer, 'shop', txnId, 'rollback');
        return { verdict: 'commit', result: 0 };
      },
    );
    await expect(late).rejects.toSatisfy(isRefusal);
  });

  it('keeps the result where the broker cannot be told', async () => {
    const untold: unknown[] = [];
    const breaking = new Proxy(producer, {
      get: (target, name) =>
        name === 'send'
          ? (record: { topic: string }) =>
              record.topic.startsWith('txn.op.')
                ? Promise.reject(new Error('cut'))
                : target.send(record as Parameters<Producer['send']>[0])
          : Reflect.get(target, name),
    });
    const result = await executeLocal(
      breaking,
      {
        topic,
        producerGroup: 'shop',
        txnId: 'untold',
        message: { value: 'untold' },
        onUntold: (_error, id) => untold.push(id),
      },
      async () => ({ verdict: 'commit', result: 'kept' }),
    );
    expect([result, untold]).toEqual(['kept', ['untold']]);
    await decide(producer, 'shop', 'untold', 'commit');
    await until(() => got.includes('untold'));
  });
});

describe('checkLocal', () => {
  it('is asked when run throws, again after unknown, and one instance answers for another', async () => {
    await hurry('bank');
    const asked: { readonly by: number; readonly check: Check }[] = [];
    const answer = (by: number) => async (check: Check) => {
      asked.push({ by, check });
      if (check.txnId === 'torn') throw new Error('the database is away');
      if (check.txnId === 'slow' && check.times < 2) return 'unknown' as const;
      return check.txnId === 'gone' ? ('rollback' as const) : ('commit' as const);
    };
    const errors: unknown[] = [];
    const options = { producerGroup: 'bank', onError: (error: unknown) => errors.push(error) };
    const first = await checkLocal(kafka, options, answer(1));
    const throwing = (txnId: string) =>
      executeLocal(
        producer,
        { topic, producerGroup: 'bank', txnId, message: { key: 'k', value: txnId, headers: { own: 'x' } } },
        async () => {
          throw new Error('crashed');
        },
      );
    for (const id of ['done', 'gone', 'slow', 'torn']) await expect(throwing(id)).rejects.toThrow('crashed');
    await until(() => ['done', 'slow'].every((id) => got.includes(id)) && errors.length > 1);
    expect(asked.find(({ check }) => check.txnId === 'done')).toMatchObject({
      by: 1,
      check: { txnId: 'done', topic, partition: 0, key: Buffer.from('k'), value: Buffer.from('done') },
    });
    expect(asked[0]!.check.headers).toEqual({ own: Buffer.from('x') });
    await first.stop();

    // The instance is gone; another one of the same group answers what it left undone.
    await expect(throwing('left')).rejects.toThrow('crashed');
    const second = await checkLocal(kafka, options, answer(2));
    await until(() => got.includes('left'));
    expect(asked.filter(({ check }) => check.txnId === 'left').every(({ by }) => by === 2)).toBe(true);
    expect(got).not.toContain('gone');
    expect(got.filter((value) => value === 'slow')).toHaveLength(1);
    await second.stop();
  }, 60_000);
});

describe('over HTTP', () => {
  it('reads, sets and takes back settings of groups', async () => {
    const path = '/groups/clerks/settings';
    const before = await call('GET', path);
    expect(before.body.settings['rmq.txn.check.max']).toEqual({ value: '15', isOwn: false });
    await call('PATCH', path, { 'rmq.txn.check.max': 3, 'rmq.txn.timeout.ms': '50' });
    const after = await call('PATCH', path, { 'rmq.txn.timeout.ms': null });
    expect(after.body.settings['rmq.txn.check.max']).toEqual({ value: '3', isOwn: true });
    expect(after.body.settings['rmq.txn.timeout.ms']).toEqual({ value: '6000', isOwn: false });
    const replaced = await call('PUT', path, { 'rmq.txn.timeout.ms': 70 });
    expect(replaced.body.settings['rmq.txn.check.max']).toEqual({ value: '15', isOwn: false });
    expect((await call('PUT', path, { 'rmq.txn.timeout.ms': -1 })).status).toBe(400);
    expect((await call('PUT', path, { nonsense: 1 })).body.error).toContain('nonsense');
    expect((await call('PUT', path, [1])).status).toBe(400);
    expect((await call('PUT', path, { 'rmq.txn.timeout.ms': {} })).status).toBe(400);
  });

  it('lists in pages, decides, sends discarded ones on, and counts', async () => {
    await hurry('desk', { 'rmq.txn.timeout.ms': 60_000, 'rmq.txn.max.age.ms': 300 });
    const half = (txnId: string, more = {}) => ({
      value: `desk ${txnId}`,
      headers: { 'rmq-txn': 'half', 'rmq-txn-id': txnId, 'rmq-producer-group': 'desk', ...more },
    });
    await producer.send({ topic, messages: ['a', 'b/ü', 'c'].map((id) => half(id)) });
    const base = '/producer-groups/desk/half-messages';
    const ids = ({ body }: { body: Body }) => body.messages.map(({ txnId, state }) => `${txnId} ${state}`);
    const first = await call('GET', `${base}?limit=2`);
    expect(ids(first)).toEqual(['a pending', 'b/ü pending']);
    expect(ids(await call('GET', `${base}?limit=2&next=${first.body.next}`))).toEqual(['c pending']);
    expect(first.body.messages[0]).toMatchObject({ topic, partition: 0, checks: 0, ended: null });
    expect((await call('POST', `${base}/${encodeURIComponent('b/ü')}/commit`)).status).toBe(200);
    expect((await call('POST', `${base}/a/rollback`)).status).toBe(200);
    expect(await call('POST', `${base}/a/commit`)).toMatchObject({
      status: 409,
      body: { reason: 'conflict' },
    });
    expect((await call('POST', `${base}/zzz/commit`)).status).toBe(404);
    expect((await call('GET', `${base}?limit=0`)).status).toBe(400);
    expect((await call('GET', `${base}?next=x`)).status).toBe(400);
    expect(ids(await call('GET', `${base}?state=pending`))).toEqual(['c pending']);
    await until(() => got.includes('desk b/ü'));

    await producer.send({ topic, messages: [half('old', { 'rmq-txn-immunity-ms': '400' })] });
    let all: string[] = [];
    for (const end = Date.now() + 20_000; !all.includes('old discarded') && Date.now() < end; ) {
      await sleep(50);
      all = ids(await call('GET', '/half-messages?limit=1000'));
    }
    expect(all).toContain('old discarded');
    expect(got).not.toContain('desk old');
    const redrive = '/producer-groups/desk/discarded/0';
    expect(await call('POST', `${redrive}/0/redrive`)).toMatchObject({ status: 200, body: { topic } });
    expect((await call('POST', `${redrive}/0/redrive`)).status).toBe(409);
    expect((await call('POST', `${redrive}/x/redrive`)).status).toBe(400);
    await until(() => got.includes('desk old'));

    const metrics = await (await fetch(`http://127.0.0.1:${broker.adminPort}/metrics`)).text();
    const count = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(metrics)?.[1]);
    expect(count('odradek_half_messages_total')).toBeGreaterThanOrEqual(13);
    expect(count('odradek_half_message_discards_total')).toBe(1);
    expect(count('odradek_half_message_checks_total')).toBeGreaterThanOrEqual(5);
    expect(count('odradek_half_message_decisions_total{verdict="rollback"}')).toBeGreaterThanOrEqual(3);
  }, 60_000);

  it('ends a Kafka transaction whose time is up as its application answers', async () => {
    await hurry('tellers', { 'rmq.txn.check.max': 100 });
    const path = '/groups/tellers/settings';
    const { status } = await call('PATCH', path, { 'rmq.txn.timeout.action': 'check' });
    expect(status).toBe(200);
    const sent = ['kept', 'dropped'];
    for (const value of sent) {
      const transactional = kafka.producer({
        transactionalId: `tellers-${value}`,
        transactionTimeout: 1000,
        maxInFlightRequests: 1,
        idempotent: true,
      });
      await transactional.connect();
      const transaction = await transactional.transaction();
      await transaction.send({ topic: 'ledger', messages: [{ value }] });
      // And never ends it.
      await transactional.disconnect();
    }
    const asked: Check[] = [];
    const answerer = await checkLocal(kafka, { producerGroup: 'tellers' }, async (check) => {
      asked.push(check);
      if (check.times === 1) return 'unknown';
      return check.transaction?.transactionalId === 'tellers-kept' ? 'commit' : 'rollback';
    });
    const plain = kafka.producer();
    await plain.connect();
    await plain.send({ topic: 'ledger', messages: [{ value: 'end' }] });
    const seen: string[] = [];
    const reader = kafka.consumer({ groupId: 'auditors', maxWaitTimeInMs: 100 });
    await reader.connect();
    await reader.subscribe({ topic: 'ledger', fromBeginning: true });
    await reader.run({ eachMessage: async ({ message }) => void seen.push(message.value!.toString()) });
    await until(() => seen.includes('end'));
    expect(seen).toEqual(['kept', 'end']);
    const [first] = asked;
    const { transaction } = first!;
    expect(first).toMatchObject({ times: 1, topic: '', key: null, value: null, headers: {} });
    expect(first!.txnId).toBe(
      `${transaction!.transactionalId}:${transaction!.producerId}:${transaction!.producerEpoch}`,
    );
    await answerer.stop();
    await reader.disconnect();
    await plain.disconnect();
  });
});
