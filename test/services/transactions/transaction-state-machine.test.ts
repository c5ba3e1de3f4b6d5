/** Every state of a transactional id with everything that can be asked of it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { errorCodes } from '../../../protocol/error-codes.ts';
import type { Effects } from '../../../src/services/coordinator/coordinator-machine.ts';
import {
  type TransactionRecord,
  type TransactionState,
  transactionRecordFormat,
} from '../../../src/services/transactions/transaction-records.ts';
import type { TransactionSettings } from '../../../src/services/transactions/transaction-settings.ts';
import {
  type TransactionAnswer,
  type TransactionEnding,
  TransactionStateMachine,
} from '../../../src/services/transactions/transaction-state-machine.ts';

const settings: TransactionSettings = {
  maxTimeoutMs: 900_000,
  timeoutCheckIntervalMs: 10_000,
  idExpirationMs: 7 * 86_400_000,
  idExpirationCheckIntervalMs: 3_600_000,
  verifiesPartitions: true,
  maxIdsPerPartition: 100,
  maxOpenPartitions: 100,
};
const id = 'tx';
const timeoutMs = 60_000;
const one = new Map([['t', new Set([0])]]);
const two = new Map([['t', new Set([0, 1])]]);
const none = errorCodes.NONE;

/** A machine that appends to a list; what is on the list makes the same machine again. */
class Subject implements Effects<TransactionRecord> {
  machine: TransactionStateMachine;
  readonly log: TransactionRecord[] = [];
  nowMs = 1_000_000;
  monotonicMs = 500;
  isReady = true;
  asked: TransactionEnding[] = [];

  constructor() {
    this.machine = this.newMachine();
  }

  newMachine(): TransactionStateMachine {
    return new TransactionStateMachine({
      settings,
      timers: {
        nowMs: () => this.nowMs,
        monotonicMs: () => this.monotonicMs,
        after: () => ({ cancel: () => {} }),
      },
    });
  }

  append(record: TransactionRecord): void {
    const { key, value } = transactionRecordFormat.encode(record);
    this.log.push(transactionRecordFormat.decode(key, value)!);
    this.machine.replay(record);
  }

  reply(): void {}

  reload(): void {
    this.machine = this.newMachine();
    for (const record of this.log) this.machine.replay(record);
  }

  pass(ms: number): void {
    this.nowMs += ms;
    this.monotonicMs += ms;
  }

  get state(): TransactionState {
    return this.machine.state(id)!;
  }

  readonly ready = (ending: TransactionEnding): boolean => {
    this.asked.push(ending);
    return this.isReady;
  };

  init(expected?: { producerId: number; producerEpoch: number }, fresh?: number) {
    return this.machine.initProducerId(id, timeoutMs, expected, fresh, this.ready, this);
  }

  add(partitions = one, producer = this.who, version = 0) {
    return this.machine.addPartitions(id, producer, partitions, version, this);
  }

  end(isCommit: boolean, producer = this.who) {
    return this.machine.endTransaction(id, producer, isCommit, this.ready, this) as TransactionAnswer;
  }

  endBumping(isCommit: boolean, producer = this.who, fresh?: number) {
    return this.machine.endTransactionWithBump(id, producer, isCommit, fresh, this.ready, this);
  }

  get who() {
    const { producerId, producerEpoch } = this.state;
    return { producerId, producerEpoch };
  }

  /** Puts the id into a state, as if it had come to be so. */
  put(state: Partial<TransactionState>): this {
    this.append({
      transactionalId: id,
      state: {
        producerId: 7,
        previousProducerId: -1,
        producerEpoch: 5,
        lastProducerEpoch: -1,
        timeoutMs,
        state: 'Empty',
        partitions: new Map(),
        startMs: -1,
        updateMs: this.nowMs,
        clientVersion: 0,
        ...state,
      },
    });
    this.log.length = 0;
    return this;
  }
}

const ongoing = { state: 'Ongoing', partitions: two, startMs: 1_000_000 } as const;
const kinds = {
  Empty: {},
  Ongoing: ongoing,
  CompleteCommit: { state: 'CompleteCommit', startMs: 1 },
  CompleteAbort: { state: 'CompleteAbort', startMs: 1 },
} as const;
type Kind = keyof typeof kinds;

describe('InitProducerId', () => {
  it('asks for a producer id for a new transactional id, and gives it with epoch 0', () => {
    const subject = new Subject();
    expect(subject.init()).toBe('needs-producer-id');
    expect(subject.log).toEqual([]);
    expect(subject.init(undefined, 9)).toEqual({ errorCode: none, producerId: 9, producerEpoch: 0 });
    expect(subject.state).toMatchObject({
      state: 'Empty',
      timeoutMs,
      producerEpoch: 0,
      previousProducerId: -1,
    });
  });

  it.each(['Empty', 'CompleteCommit', 'CompleteAbort'] as const)('raises the epoch in %s', (kind) => {
    const subject = new Subject().put(kinds[kind]);
    expect(subject.init()).toEqual({ errorCode: none, producerId: 7, producerEpoch: 6 });
    expect(subject.state).toMatchObject({ state: 'Empty', startMs: -1 });
    expect(subject.asked).toEqual([]);
  });

  it('aborts what is open with an epoch that fences, and gives the next', () => {
    const subject = new Subject().put(ongoing);
    const ending = { transactionalId: id, producerId: 7, producerEpoch: 6, isCommit: false, partitions: two };
    expect(subject.init()).toEqual({ errorCode: none, producerId: 7, producerEpoch: 7, ending });
    expect(subject.log).toHaveLength(1);
    expect(subject.state).toMatchObject({ state: 'Empty', producerEpoch: 7 });
  });

  it('changes nothing while what is open cannot end', () => {
    const subject = new Subject().put(ongoing);
    subject.isReady = false;
    expect(subject.init()).toBe('not-ready');
    expect(subject.log).toEqual([]);
    expect(subject.state.state).toBe('Ongoing');
  });

  describe('of a producer that says what it had (KIP-360)', () => {
    it.each([
      ['the present epoch', { producerId: 7, producerEpoch: 5 }, 6],
      ['an older epoch', { producerId: 7, producerEpoch: 4 }, undefined],
      ['a newer epoch', { producerId: 7, producerEpoch: 6 }, undefined],
      ['another producer id', { producerId: 8, producerEpoch: 5 }, undefined],
      ['another producer id at its end', { producerId: 8, producerEpoch: 32766 }, undefined],
    ])('%s', (_, expected, epoch) => {
      const subject = new Subject().put({});
      const answer = subject.init(expected);
      if (epoch === undefined) expect(answer).toMatchObject({ errorCode: errorCodes.PRODUCER_FENCED });
      else expect(answer).toEqual({ errorCode: none, producerId: 7, producerEpoch: epoch });
    });

    it('answers a repeat as before, and fences it once another came', () => {
      const subject = new Subject().put({});
      const had = subject.who;
      expect(subject.init(had)).toMatchObject({ producerEpoch: 6 });
      expect(subject.init(had)).toMatchObject({ errorCode: none, producerEpoch: 6 });
      subject.init();
      expect(subject.init(had)).toMatchObject({ errorCode: errorCodes.PRODUCER_FENCED });
    });

    it('goes on after its own transaction was aborted', () => {
      const subject = new Subject().put(ongoing);
      expect(subject.init(subject.who)).toMatchObject({ errorCode: none, producerId: 7, producerEpoch: 6 });
    });
  });

  describe('at the last epoch', () => {
    const last = { producerEpoch: 32766 } as const;

    it('gives a new producer id, and once more to who repeats', () => {
      const subject = new Subject().put(last);
      const had = subject.who;
      expect(subject.init(had)).toBe('needs-producer-id');
      expect(subject.init(had, 9)).toEqual({ errorCode: none, producerId: 9, producerEpoch: 0 });
      expect(subject.state.previousProducerId).toBe(7);
      // KAFKA-18660: the answer was lost.
      expect(subject.init(had, 10)).toEqual({ errorCode: none, producerId: 9, producerEpoch: 0 });
    });

    it('aborts what is open with epoch 32767 and gives a new producer id', () => {
      const subject = new Subject().put({ ...ongoing, ...last });
      expect(subject.init()).toBe('needs-producer-id');
      expect(subject.state.state).toBe('Ongoing');
      expect(subject.init(undefined, 9)).toMatchObject({
        producerId: 9,
        producerEpoch: 0,
        ending: { producerEpoch: 32767, producerId: 7 },
      });
    });

    it('... also to who asks with what it had', () => {
      const subject = new Subject().put({ ...ongoing, ...last });
      expect(subject.init(subject.who, 9)).toMatchObject({
        errorCode: none,
        producerId: 9,
        producerEpoch: 0,
      });
    });
  });

  it('refuses more ids than the limit says', () => {
    const subject = new Subject();
    for (let count = 0; count < settings.maxIdsPerPartition; count++) {
      subject.machine.initProducerId(`tx-${count}`, timeoutMs, undefined, count, subject.ready, subject);
    }
    expect(subject.init(undefined, 999)).toMatchObject({ errorCode: errorCodes.COORDINATOR_NOT_AVAILABLE });
    expect(subject.machine.size).toBe(settings.maxIdsPerPartition);
  });
});

describe('what a transaction covers', () => {
  it.each(Object.keys(kinds) as Kind[])('is added to in %s', (kind) => {
    const subject = new Subject().put(kinds[kind]);
    expect(subject.add(new Map([['u', new Set([3])]]))).toBe(none);
    const before = kind === 'Ongoing' ? [...two] : [];
    expect(subject.state).toMatchObject({
      state: 'Ongoing',
      partitions: new Map([...before, ['u', new Set([3])]]),
      startMs: 1_000_000,
      producerEpoch: 5,
    });
  });

  it('is not written again where nothing is new', () => {
    const subject = new Subject().put(ongoing);
    expect(subject.add(one)).toBe(none);
    expect(subject.log).toEqual([]);
  });

  it.each([
    ['an older epoch', { producerId: 7, producerEpoch: 4 }, errorCodes.PRODUCER_FENCED],
    ['a newer epoch', { producerId: 7, producerEpoch: 6 }, errorCodes.PRODUCER_FENCED],
    ['another producer id', { producerId: 8, producerEpoch: 5 }, errorCodes.INVALID_PRODUCER_ID_MAPPING],
  ])('is the business of its producer alone: %s', (_, producer, errorCode) => {
    for (const kind of Object.keys(kinds) as Kind[]) {
      const subject = new Subject().put(kinds[kind]);
      expect(subject.add(one, producer)).toBe(errorCode);
      expect(subject.machine.verify(id, producer)).toBe(errorCode);
      expect(subject.end(true, producer)).toMatchObject({ errorCode });
      expect(subject.log).toEqual([]);
    }
    const subject = new Subject();
    expect(subject.add(one, producer)).toBe(errorCodes.INVALID_PRODUCER_ID_MAPPING);
  });

  it('is known while it is open', () => {
    const subject = new Subject().put(ongoing);
    expect(subject.machine.isCovered(id, 't', 1)).toBe(true);
    expect(subject.machine.isCovered(id, 't', 2)).toBe(false);
    subject.end(true);
    expect(subject.machine.isCovered(id, 't', 1)).toBe(false);
  });
});

describe('EndTxn of transaction.version 0 and 1', () => {
  const invalid = errorCodes.INVALID_TXN_STATE;
  it.each<[Kind, boolean, number]>([
    ['Empty', true, invalid],
    ['Empty', false, invalid],
    ['Ongoing', true, none],
    ['Ongoing', false, none],
    ['CompleteCommit', true, none],
    ['CompleteCommit', false, invalid],
    ['CompleteAbort', true, invalid],
    ['CompleteAbort', false, none],
  ])('%s, commit %s: %i', (kind, isCommit, errorCode) => {
    const subject = new Subject().put(kinds[kind]);
    const answer = subject.end(isCommit);
    expect(answer.errorCode).toBe(errorCode);
    if (kind !== 'Ongoing') {
      expect(answer.ending).toBeUndefined();
      expect(subject.log).toEqual([]);
      return;
    }
    expect(answer.ending).toEqual({
      transactionalId: id,
      producerId: 7,
      producerEpoch: 5,
      isCommit,
      partitions: two,
    });
    expect(subject.state).toMatchObject({
      state: isCommit ? 'CompleteCommit' : 'CompleteAbort',
      producerEpoch: 5,
      partitions: new Map(),
    });
  });
});

describe('EndTxn of transaction.version 2', () => {
  const invalid = errorCodes.INVALID_TXN_STATE;
  const fenced = errorCodes.PRODUCER_FENCED;
  // KIP-890's table: with the epoch before the present one, with the present one. 'raised': no error and the next epoch.
  it.each<[Kind, boolean, number | 'raised', number | 'raised']>([
    ['Empty', false, fenced, 'raised'],
    ['Empty', true, fenced, invalid],
    ['Ongoing', false, fenced, 'raised'],
    ['Ongoing', true, fenced, 'raised'],
    ['CompleteAbort', false, none, 'raised'],
    ['CompleteAbort', true, invalid, invalid],
    ['CompleteCommit', false, invalid, 'raised'],
    ['CompleteCommit', true, none, invalid],
  ])('%s, commit %s: repeated %s, new %s', (kind, isCommit, repeated, fresh) => {
    const repeat = new Subject().put(kinds[kind]);
    const answer = repeat.endBumping(isCommit, { producerId: 7, producerEpoch: 4 }) as TransactionAnswer;
    expect(answer.errorCode).toBe(repeated);
    expect(answer.producerEpoch).toBe(repeated === none ? 5 : -1);
    expect(repeat.log).toEqual([]);

    const subject = new Subject().put(kinds[kind]);
    const next = subject.endBumping(isCommit) as TransactionAnswer;
    if (fresh !== 'raised') {
      expect(next.errorCode).toBe(fresh);
      expect(subject.log).toEqual([]);
      return;
    }
    expect(next).toMatchObject({ errorCode: none, producerId: 7, producerEpoch: 6 });
    expect(next.ending).toMatchObject({ producerEpoch: 6, isCommit });
    expect(subject.state).toMatchObject({ producerEpoch: 6, clientVersion: 2 });
  });

  it.each(Object.keys(kinds) as Kind[])('fences in %s who is newer, or another', (kind) => {
    const subject = new Subject().put(kinds[kind]);
    expect(subject.endBumping(true, { producerId: 7, producerEpoch: 6 })).toMatchObject({
      errorCode: fenced,
    });
    expect(subject.endBumping(true, { producerId: 8, producerEpoch: 5 })).toMatchObject({
      errorCode: errorCodes.INVALID_PRODUCER_ID_MAPPING,
    });
  });

  it('goes on with a new producer id after the last epoch, and says so again to who repeats', () => {
    const subject = new Subject().put({ ...ongoing, producerEpoch: 32766 });
    const had = subject.who;
    expect(subject.endBumping(true)).toBe('needs-producer-id');
    expect(subject.log).toEqual([]);
    expect(subject.endBumping(true, had, 9)).toMatchObject({
      errorCode: none,
      producerId: 9,
      producerEpoch: 0,
      ending: { producerId: 7, producerEpoch: 32767, isCommit: true },
    });
    expect(subject.endBumping(true, had)).toEqual({ errorCode: none, producerId: 9, producerEpoch: 0 });
    subject.reload();
    expect(subject.endBumping(true, had)).toEqual({ errorCode: none, producerId: 9, producerEpoch: 0 });
    expect(subject.endBumping(false, had)).toMatchObject({ errorCode: invalid });
  });
});

describe('time', () => {
  it('aborts what is open for longer than its timeout, with an epoch that fences', () => {
    const subject = new Subject().put({});
    subject.add();
    subject.pass(timeoutMs);
    expect(subject.machine.timedOut()).toEqual([]);
    subject.pass(1);
    expect(subject.machine.timedOut()).toEqual([id]);
    expect(subject.machine.abort(id, subject.ready, subject)).toMatchObject({
      producerEpoch: 6,
      isCommit: false,
    });
    expect(subject.state).toMatchObject({ state: 'CompleteAbort', producerEpoch: 6 });
    expect(subject.machine.timedOut()).toEqual([]);
    expect(subject.end(true, { producerId: 7, producerEpoch: 5 })).toMatchObject({
      errorCode: errorCodes.PRODUCER_FENCED,
    });
  });

  it('goes on counting over a restart, whatever the clock on the wall does meanwhile', () => {
    const subject = new Subject().put({});
    subject.add();
    subject.pass(40_000);
    subject.monotonicMs = 3;
    subject.reload();
    subject.pass(20_001);
    expect(subject.machine.timedOut()).toEqual([id]);

    subject.nowMs -= 10_000_000;
    subject.monotonicMs = 3;
    subject.reload();
    expect(subject.machine.timedOut()).toEqual([]);
    subject.pass(timeoutMs + 1);
    expect(subject.machine.timedOut()).toEqual([id]);
  });

  it('forgets ids that nobody used, but none with a transaction', () => {
    for (const kind of Object.keys(kinds) as Kind[]) {
      const subject = new Subject().put(kinds[kind]);
      subject.pass(settings.idExpirationMs - 1);
      expect(subject.machine.expire(subject, subject.nowMs)).toBe(0);
      subject.pass(1);
      expect(subject.machine.expire(subject, subject.nowMs)).toBe(kind === 'Ongoing' ? 0 : 1);
      if (kind === 'Ongoing') continue;
      expect(subject.log).toEqual([{ transactionalId: id, state: null }]);
      expect(subject.machine.state(id)).toBeUndefined();
    }
  });
});

describe('listing', () => {
  it('goes by state, producer, age and name', () => {
    const subject = new Subject().put(ongoing);
    subject.machine.initProducerId('other', timeoutMs, undefined, 8, subject.ready, subject);
    subject.pass(1000);
    const list = (filter: object) =>
      subject.machine
        .list({ states: new Set(), producerIds: new Set(), durationMs: -1, matches: () => true, ...filter })
        .map(({ transactionalId }) => transactionalId);
    expect(list({})).toEqual([id, 'other']);
    expect(list({ states: new Set(['Ongoing']) })).toEqual([id]);
    expect(list({ producerIds: new Set([8]) })).toEqual(['other']);
    expect(list({ durationMs: 999, states: new Set(['Ongoing']) })).toEqual([id]);
    expect(list({ durationMs: 1000, states: new Set(['Ongoing']) })).toEqual([]);
    expect(list({ matches: (name: string) => name === 'other' })).toEqual(['other']);
  });
});

/** What a client must be able to rely on, whatever the order of requests of several producers with one id. */
it('any walk: epochs only rise, only the newest producer has an effect, and what is read back is the same', () => {
  type Step = readonly [
    kind: 'init' | 'own' | 'add' | 'commit' | 'abort' | 'commit2' | 'abort2' | 'time',
    who: number,
  ];
  const step = fc.tuple(
    fc.constantFrom<Step[0]>('init', 'own', 'add', 'commit', 'abort', 'commit2', 'abort2', 'time'),
    fc.nat(2),
  );
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 40 }),
      fc.integer({ min: 0, max: 32767 - 2 }),
      (steps, firstEpoch) => {
        const subject = new Subject().put({ producerEpoch: firstEpoch });
        const clients = [0, 1, 2].map(() => ({ producerId: -1, producerEpoch: -1 }));
        let fresh = 100;
        let newest = subject.who;
        const age = ({ producerId, producerEpoch }: typeof newest) =>
          (producerId === 7 ? 0 : producerId) * 40_000 + producerEpoch;
        for (const [kind, at] of steps) {
          const client = clients[at]!;
          const before = subject.state;
          const isNewest =
            client.producerId === before.producerId && client.producerEpoch === before.producerEpoch;
          let answer: TransactionAnswer | string | number | undefined;
          switch (kind) {
            case 'init':
              answer = subject.init(undefined, fresh++);
              break;
            case 'own':
              answer = client.producerId < 0 ? undefined : subject.init(client, fresh++);
              break;
            case 'add':
              answer = subject.add(one, client);
              expect(answer === none).toBe(isNewest);
              break;
            case 'commit':
            case 'abort':
              answer = subject.end(kind === 'commit', client);
              if (!isNewest) expect((answer as TransactionAnswer).errorCode).not.toBe(none);
              break;
            case 'commit2':
            case 'abort2':
              answer = subject.endBumping(kind === 'commit2', client, fresh++);
              break;
            case 'time':
              subject.pass(timeoutMs + 1);
              for (const late of subject.machine.timedOut())
                subject.machine.abort(late, subject.ready, subject);
          }
          if (typeof answer === 'object' && answer.errorCode === none && answer.producerId >= 0) {
            clients[at] = { producerId: answer.producerId, producerEpoch: answer.producerEpoch };
            expect(answer.producerEpoch).toBeLessThan(32767);
          }
          // An end happens to what was open, by who is newest or by somebody who came after it.
          if (typeof answer === 'object' && answer.ending !== undefined && before.state === 'Ongoing') {
            expect(answer.ending.partitions).toEqual(before.partitions);
            if (kind !== 'init' && kind !== 'own') expect(isNewest).toBe(true);
          }
          expect(age(subject.who)).toBeGreaterThanOrEqual(age(newest));
          newest = subject.who;
          const { lastProducerEpoch: _, ...seen } = subject.state;
          const again = subject.newMachine();
          again.replay({ transactionalId: id, state: before });
          for (const record of subject.log) again.replay(record);
          if (subject.log.length > 0) expect(again.state(id)).toMatchObject(seen);
        }
      },
    ),
    { numRuns: 300 },
  );
});
