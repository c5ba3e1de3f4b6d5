import { describe, expect, it } from 'vitest';
import { checkHistory, type Rule } from './check-history.ts';
import type { History, Operation, SeenRecord } from './history.ts';
import { type ModelBug, modelBugs, modelHistory } from './model-broker.ts';

const steps = 400;
const seeds = Array.from({ length: 40 }, (_, seed) => seed + 1);

describe('histories of a model broker', () => {
  it('are found to be right where it is', () => {
    for (const seed of seeds) expect(checkHistory(modelHistory(seed, steps)), `seed ${seed}`).toEqual([]);
  });

  it('have something in them', () => {
    const { operations, final } = modelHistory(1, steps);
    const outcomes = operations.flatMap((one) => (one.kind === 'transaction' ? [one.outcome] : []));
    expect(new Set(outcomes)).toEqual(new Set(['committed', 'aborted', 'unknown']));
    expect([...final.values()].flat().length).toBeGreaterThan(50);
    expect(operations.some((one) => one.kind === 'transaction' && one.consumed !== undefined)).toBe(true);
  });

  /** What each bug must be called, at the least, in one of the histories. */
  const names: Record<ModelBug, Rule> = {
    'aborted records are shown': 'aborted read',
    'open transactions are shown': 'precommitted read',
    'a marker is missing in one partition': 'torn transaction',
    'a commit is answered and forgotten': 'lost write',
    'a committed record is dropped': 'torn transaction',
    'a record sent again is stored twice': 'duplicate',
    'an offset is used again after a crash': 'inconsistent offset',
    'a wrong offset is acknowledged': 'inconsistent offset',
    'a fetch leaves a record out': 'poll skip',
    'a fetch starts too far on': 'poll skip',
    'a fetch goes back': 'nonmonotonic poll',
    'offsets of an aborted transaction stay': 'not processed',
    'offsets are not committed with the transaction': 'processed twice',
    'committed offsets are lost in a crash': 'offset went back',
    'a fenced producer may go on': 'processed twice',
    'a late commit ends the next transaction': 'aborted read',
    'a record lands in another partition': 'inconsistent offset',
  };

  for (const bug of modelBugs) {
    it(`are found to be wrong where ${bug}`, () => {
      const found = seeds.flatMap((seed) => checkHistory(modelHistory(seed, steps, bug)));
      expect(new Set(found.map(({ rule }) => rule))).toContain(names[bug]);
    });
  }
});

describe('the rules', () => {
  const committed = (
    process: string,
    over: Partial<Extract<Operation, { kind: 'transaction' }>>,
  ): Operation => ({
    kind: 'transaction',
    process,
    outcome: 'committed',
    sends: [],
    commitAskedMs: 0,
    endMs: 1,
    ...over,
  });
  const history = (operations: Operation[], final: Record<string, SeenRecord[]> = {}): History => ({
    operations,
    final: new Map(Object.entries(final)),
    finalOffsets: new Map(),
  });
  const rulesOf = (one: History): Rule[] => checkHistory(one).map(({ rule }) => rule);

  it('let writes of several transactions interleave', () => {
    const one = committed('a', {
      sends: [
        { partition: 'p', value: 1 },
        { partition: 'p', value: 3 },
      ],
    });
    const two = committed('b', {
      sends: [
        { partition: 'p', value: 2 },
        { partition: 'p', value: 4 },
      ],
    });
    const p = [1, 2, 3, 4].map((value, offset) => ({ value, offset }));
    expect(rulesOf(history([one, two], { p }))).toEqual([]);
  });

  it('find two transactions that have read one another', () => {
    const consumed = (partition: string, value: number) => ({
      group: 'g',
      partition,
      values: [value],
      toOffset: 1,
    });
    const one = committed('a', { sends: [{ partition: 'p', value: 1 }], consumed: consumed('q', 2) });
    const two = committed('b', { sends: [{ partition: 'q', value: 2 }], consumed: consumed('p', 1) });
    const final = { p: [{ offset: 0, value: 1 }], q: [{ offset: 0, value: 2 }] };
    expect(rulesOf(history([one, two], final))).toEqual(['cycle of reads']);
  });

  it('take an unknown end either way, but whole', () => {
    const sends = [
      { partition: 'p', value: 1 },
      { partition: 'q', value: 2 },
    ];
    const unknown = committed('a', { sends, outcome: 'unknown' });
    expect(rulesOf(history([unknown]))).toEqual([]);
    const p = [{ offset: 0, value: 1 }];
    expect(rulesOf(history([unknown], { p, q: [{ offset: 0, value: 2 }] }))).toEqual([]);
    expect(rulesOf(history([unknown], { p }))).toEqual(['torn transaction']);
  });

  it('find a value that nobody sent', () => {
    expect(rulesOf(history([], { p: [{ offset: 0, value: 9 }] }))).toEqual(['phantom']);
  });

  it('find an offset that no transaction committed', () => {
    const fetched: Operation = {
      kind: 'offset-fetch',
      group: 'g',
      partition: 'p',
      offset: 7,
      startMs: 0,
      endMs: 0,
    };
    expect(rulesOf(history([fetched]))).toEqual(['offset of no transaction']);
  });
});
