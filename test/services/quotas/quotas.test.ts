/** Quotas as set, found and enforced, on the memory engine and a clock that is moved. */
import { afterEach, describe, expect, it } from 'vitest';
import { ClientQuotas, type QuotaOperation } from '../../../src/services/quotas/client-quotas.ts';
import type { EntityPart } from '../../../src/services/quotas/quota-entity.ts';
import { quotaFilter } from '../../../src/services/quotas/quota-filter.ts';
import { Quotas } from '../../../src/services/quotas/quotas.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { memoryEngine } from '../../handlers/admin-broker.ts';

const window = { samples: 11, sampleMs: 1000 };
const open: ClientQuotas[] = [];

afterEach(() => {
  for (const quotas of open.splice(0)) quotas.close();
});

function setUp() {
  const engine = memoryEngine();
  const set = new ClientQuotas(engine.catalogue);
  open.push(set);
  const clock = new VirtualClock();
  const quotas = new Quotas(set, clock, { client: window, changes: window });
  return { engine, set, clock, quotas };
}

function parts(entity: Readonly<Record<string, string | null>>): readonly EntityPart[] {
  return Object.entries(entity).map(([entityType, entityName]) => ({ entityType, entityName }));
}

async function give(
  set: ClientQuotas,
  entity: Readonly<Record<string, string | null>>,
  values: Readonly<Record<string, number | null>>,
) {
  const operations: QuotaOperation[] = Object.entries(values).map(([key, value]) => ({
    key,
    value: value ?? 0,
    remove: value === null,
  }));
  const [answer] = await set.alter([{ entity: parts(entity), operations }], false);
  return answer;
}

const client = (clientId: string | null, user = 'ANONYMOUS') => ({ principal: `User:${user}`, clientId });

describe('quotas that were set', () => {
  it('are found by the most specific entity, in the order of Kafka', async () => {
    const { set } = setUp();
    const order: readonly Readonly<Record<string, string | null>>[] = [
      { 'client-id': null },
      { 'client-id': 'c' },
      { user: null },
      { user: null, 'client-id': null },
      { user: null, 'client-id': 'c' },
      { user: 'u' },
      { user: 'u', 'client-id': null },
      { user: 'u', 'client-id': 'c' },
    ];
    const meters: string[] = [];
    for (const [at, entity] of order.entries()) {
      expect(await give(set, entity, { producer_byte_rate: at + 1 })).toBeUndefined();
      const found = set.ofClient('producer_byte_rate', 'u', 'c');
      expect(found?.limit).toBe(at + 1);
      meters.push(found!.meter);
    }
    const [, byId, byUser, byBoth] = meters;
    expect(meters).toEqual([byId, byId, byUser, byBoth, byBoth, byUser, byBoth, byBoth]);
    // A quota of another kind leaves the lookup of this one alone.
    await give(set, { user: 'v', 'client-id': 'c' }, { consumer_byte_rate: 5 });
    expect(set.ofClient('producer_byte_rate', 'v', 'c')?.limit).toBe(5);
    expect(set.ofClient('consumer_byte_rate', 'u', 'c')).toBeUndefined();
  });

  it('are there after a start, and gone when the last key is removed', async () => {
    const { engine, set } = setUp();
    await give(set, { user: 'u' }, { producer_byte_rate: 10, request_percentage: 12.5 });
    const again = new ClientQuotas(engine.catalogue);
    open.push(again);
    expect([...again.rows()].map(({ entity, values }) => [[...entity], [...values]])).toEqual([
      [
        [['user', 'u']],
        [
          ['producer_byte_rate', 10],
          ['request_percentage', 12.5],
        ],
      ],
    ]);
    await give(set, { user: 'u' }, { producer_byte_rate: null, request_percentage: null });
    expect([...set.rows()]).toEqual([]);
    expect(set.has('producer_byte_rate')).toBe(false);
  });

  it('are not set by halves', async () => {
    const { set } = setUp();
    const answer = await give(set, { user: 'u' }, { producer_byte_rate: 10, nonsense: 1 });
    expect(answer).toEqual({ code: 42, message: 'Invalid configuration key nonsense' });
    expect([...set.rows()]).toEqual([]);
  });

  it.each([
    [{}, { producer_byte_rate: 1 }, 'Invalid empty client quota entity'],
    [{ colour: 'red' }, { producer_byte_rate: 1 }, 'Unhandled client quota entity type: colour'],
    [{ user: '' }, { producer_byte_rate: 1 }, 'Empty user not supported'],
    [{ ip: '::1', user: 'u' }, { producer_byte_rate: 1 }, 'shouldnot be combined'],
    [{ ip: 'host.example' }, { connection_creation_rate: 1 }, 'is not a valid IP'],
    [{ ip: '::1' }, { producer_byte_rate: 1 }, 'Invalid configuration key'],
    [{ user: 'u' }, { producer_byte_rate: 0 }, 'must be greater than 0'],
    [{ user: 'u' }, { producer_byte_rate: Number.NaN }, 'must be greater than 0'],
    [{ user: 'u' }, { producer_byte_rate: 1.5 }, 'cannot be a fractional value'],
    [{ ip: null }, { connection_creation_rate: 2 ** 31 }, 'too large for an INT'],
  ])('are refused: %j %j', async (entity, values, message) => {
    const { set } = setUp();
    const answer = await give(set, entity as Record<string, string>, values as Record<string, number>);
    expect(answer?.message).toContain(message);
    expect([...set.rows()]).toEqual([]);
  });

  it('are filtered by parts', () => {
    const both = new Map([
      ['client-id', 'c'],
      ['user', null],
    ]);
    const matches = (components: readonly [string, number, string | null][], strict: boolean) => {
      const filter = quotaFilter(
        components.map(([entityType, matchType, match]) => ({ entityType, matchType, match })),
        strict,
      );
      return typeof filter === 'function' ? filter(both) : filter.message;
    };
    expect(matches([], false)).toBe(true);
    expect(matches([], true)).toBe(false);
    expect(matches([['user', 1, null]], false)).toBe(true);
    expect(matches([['user', 1, null]], true)).toBe(false);
    expect(matches([['user', 0, 'u']], false)).toBe(false);
    expect(
      matches(
        [
          ['user', 2, null],
          ['client-id', 0, 'c'],
        ],
        true,
      ),
    ).toBe(true);
    expect(matches([['user', 5, null]], false)).toBe('Unknown match type 5');
  });
});

describe('bytes', () => {
  const produced = (bytes: number) => ({ apiKey: 0, requestBytes: bytes, answerBytes: 60, busyMs: 0 });

  it('beyond the quota are waited for until the rate is the quota', async () => {
    const { set, quotas, clock } = setUp();
    await give(set, { 'client-id': 'p' }, { producer_byte_rate: 1000 });
    // The window of the first second is 10 s: 10,000 bytes are within it.
    expect(quotas.charge(client('p'), produced(10_000))).toBe(0);
    expect(quotas.charge(client('p'), produced(1_000))).toBe(1_000);
    expect(quotas.charge(client('other'), produced(1_000_000))).toBe(0);
    await clock.advance(11_000);
    expect(quotas.charge(client('p'), produced(0))).toBe(0);
    expect(quotas.figures.produce).toEqual({ count: 1, sumMs: 1000 });
  });

  it('reach the quota over time, whoever shares it', async () => {
    const { set, quotas, clock } = setUp();
    await give(set, { user: 'ANONYMOUS' }, { producer_byte_rate: 5_000 });
    let sent = 0;
    let waitMs = 0;
    for (let elapsedMs = 0; elapsedMs < 120_000; elapsedMs += 20) {
      if (waitMs <= 0) {
        const name = sent % 2 === 0 ? 'a' : 'b';
        waitMs = quotas.charge(client(name), produced(1_000));
        sent += 1;
      }
      waitMs -= 20;
      await clock.advance(20);
    }
    // 120 s, and what the first window may hold at once.
    expect(sent / 120).toBeGreaterThan(5);
    expect(sent / 120).toBeLessThan(5.6);
  });

  it('of a fetch are limited by what is left', async () => {
    const { set, quotas, clock } = setUp();
    expect(quotas.fetchRoom(client('f'))).toEqual({ bytes: Number.POSITIVE_INFINITY });
    await give(set, { 'client-id': null }, { consumer_byte_rate: 1000 });
    expect(quotas.fetchRoom(client('f'))).toEqual({ bytes: 10_000 });
    const fetched = { apiKey: 1, requestBytes: 100, answerBytes: 12_000, busyMs: 0 };
    expect(quotas.charge(client('f'), fetched)).toBe(2_000);
    expect(quotas.fetchRoom(client('f'))).toEqual({ waitMs: 2_000 });
    // As long as the use is in the window, then all at once: such are samples.
    await clock.advance(10_999);
    expect(quotas.fetchRoom(client('f'))).toEqual({ waitMs: 1_001 });
    await clock.advance(1);
    expect(quotas.fetchRoom(client('f'))).toEqual({ bytes: 10_000 });
  });
});

describe('the time of the thread', () => {
  it('is a percentage, and is waited for one sample at most', async () => {
    const { set, quotas } = setUp();
    expect(quotas.isCharging).toBe(false);
    await give(set, { 'client-id': 'c' }, { request_percentage: 1 });
    expect(quotas.isCharging).toBe(true);
    const cost = (busyMs: number, apiKey = 3) => ({ apiKey, requestBytes: 10, answerBytes: 10, busyMs });
    // 1 % of the window of 10 s is 100 ms.
    expect(quotas.charge(client('c'), cost(100))).toBe(0);
    expect(quotas.charge(client('c'), cost(5))).toBe(500);
    expect(quotas.charge(client('c'), cost(500))).toBe(1_000);
    expect(quotas.charge(client('c'), { apiKey: 0, requestBytes: 9, answerBytes: 0, busyMs: 500 })).toBe(0);
  });
});

describe('changes of partitions', () => {
  it('go into debt once, then a strict request is refused and another one waits', async () => {
    const { set, quotas, clock } = setUp();
    expect(quotas.changesOf(client('c'), true).take(1_000_000)).toBe(true);
    await give(set, { user: null }, { controller_mutation_rate: 1 });
    const first = quotas.changesOf(client('c'), true);
    expect(first.take(15)).toBe(true);
    expect(first.settle()).toBe(0);
    const second = quotas.changesOf(client('c'), true);
    expect(second.take(1)).toBe(false);
    expect(second.settle()).toBe(4_000);
    const old = quotas.changesOf(client('c'), false);
    expect(old.take(1)).toBe(true);
    expect(old.settle()).toBe(5_000);
    await clock.advance(5_000);
    expect(quotas.changesOf(client('c'), true).take(1)).toBe(true);
  });
});

describe('connections of an address', () => {
  it('beyond the rate are held, and do not count', async () => {
    const { set, quotas, clock } = setUp();
    expect(quotas.connectionWaitMs('192.0.2.1')).toBe(0);
    await give(set, { ip: null }, { connection_creation_rate: 1 });
    await give(set, { ip: '192.0.2.9' }, { connection_creation_rate: 100 });
    for (let count = 0; count < 10; count++) expect(quotas.connectionWaitMs('192.0.2.1')).toBe(0);
    for (let count = 0; count < 5; count++) expect(quotas.connectionWaitMs('192.0.2.1')).toBe(1_000);
    for (let count = 0; count < 50; count++) expect(quotas.connectionWaitMs('192.0.2.9')).toBe(0);
    await clock.advance(11_000);
    expect(quotas.connectionWaitMs('192.0.2.1')).toBe(0);
    expect(quotas.figures.connections.count).toBe(5);
  });
});
