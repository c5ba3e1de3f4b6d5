import { describe, expect, test } from 'vitest';
import { PartitionChecker, PartitionJournal, recordValue } from './journal.ts';

const name = 'topic-0';

/** Ten records of `p` in two batches, acknowledged at offsets 0 and 4, and a batch of `q` between. */
function journal(): PartitionJournal {
  const one = new PartitionJournal(name);
  one.sent('p', 0, 10);
  one.acknowledged('p', { firstNumber: 0, count: 3, baseOffset: 0 });
  one.sent('q', 0, 1);
  one.acknowledged('q', { firstNumber: 0, count: 1, baseOffset: 3 });
  one.acknowledged('p', { firstNumber: 3, count: 5, baseOffset: 4 });
  return one;
}

type Entry = [key: string, number: number, value?: Buffer];
const right: Entry[] = [
  ['p', 0],
  ['p', 1],
  ['p', 2],
  ['q', 0],
  ['p', 3],
  ['p', 4],
  ['p', 5],
  ['p', 6],
  ['p', 7],
];

function check(entries: Entry[], offsets = entries.map((_, at) => at)): string[] {
  const one = journal();
  const checker = new PartitionChecker(one);
  for (const [at, [key, number, value]] of entries.entries()) {
    checker.see({ offset: offsets[at]!, key, value: value ?? recordValue(name, key, number) });
  }
  checker.end(new Map(one.producers().map((producer) => [producer, one.ackedUntil(producer)])));
  return checker.failures;
}

describe('the judgement on a log after a crash', () => {
  test('takes what was acknowledged, and what was only sent', () => {
    expect(check(right)).toEqual([]);
    expect(check([...right, ['p', 8]])).toEqual([]);
  });

  test('finds a lost tail, and a lost record within', () => {
    expect(check(right.slice(0, -1)).join()).toContain('records 7 to 7 of p were acknowledged and are lost');
    expect(check(right.filter((_, at) => at !== 5)).join()).toContain('record 5 of p where 4 is due');
    expect(check([]).join()).toContain('lost');
  });

  test('finds a record that is there twice', () => {
    expect(check([...right, ['p', 7]]).join()).toContain('record 7 of p a second time');
    expect(check([...right, ['q', 0]]).join()).toContain('record 0 of q a second time');
  });

  test('finds what is out of order, or at another offset than acknowledged', () => {
    const swapped = [...right];
    [swapped[3], swapped[4]] = [right[4]!, right[3]!];
    expect(check(swapped).join()).toContain('was acknowledged at offset 4 and is at 3');
    expect(check(right, [0, 1, 2, 3, 4, 5, 6, 7, 9]).join()).toContain('offset 9 comes after 7');
  });

  test('finds records that were never sent, and wrong bytes', () => {
    expect(check([...right, ['p', 8], ['p', 9], ['p', 10]]).join()).toContain(
      'record 10 of p was never sent',
    );
    const flipped = recordValue(name, 'p', 8);
    flipped[flipped.length - 1]! ^= 1;
    expect(check([...right, ['p', 8, flipped]]).join()).toContain('has other bytes');
  });
});
