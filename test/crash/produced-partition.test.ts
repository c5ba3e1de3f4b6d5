import { describe, expect, test } from 'vitest';
import { PartitionJournal, recordValue } from './journal.ts';
import { PartitionUnderTest } from './produced-partition.ts';

const name = 'topic-0';

/** Ten batches of one record, acknowledged at 100, 110, ... ms; the log holds the first `kept` of them. */
function afterCut(kept: number, offsets = [...Array(10).keys()]): PartitionUnderTest {
  const journal = new PartitionJournal(name);
  journal.sent('p', 0, 12);
  for (let number = 0; number < 10; number++) {
    journal.acknowledged('p', {
      firstNumber: number,
      count: 1,
      baseOffset: offsets[number],
      atMs: 100 + 10 * number,
    });
  }
  const partition = new PartitionUnderTest({ topic: 'topic', index: 0, acks: 1, journal, isTrimmed: true });
  for (let number = 0; number < kept; number++) {
    partition.checker.see({ offset: offsets[number]!, key: 'p', value: recordValue(name, 'p', number) });
  }
  return partition;
}

describe('the judgement on a partition after a power cut', () => {
  test('lets the last acknowledgements be lost, tells how old they were and where to go on', () => {
    const partition = afterCut(8);
    expect([...partition.endAfterCut(200, 175)]).toEqual([['p', 8]]);
    expect(partition.allFailures).toEqual([]);
    expect(partition.lostWindowsMs).toEqual([20]);
    expect(partition.journal.ackedUntil('p')).toBe(8);
    expect(partition.journal.mayHaveUntil('p')).toBe(8);
  });

  test('finds what was acknowledged too long ago to be lost', () => {
    const partition = afterCut(7);
    partition.endAfterCut(200, 175);
    expect(partition.allFailures.join()).toContain('records 7 to 7 of p were acknowledged 25 ms and more');
  });

  test('finds any loss where every acknowledgement counts, also of one that came after the cut', () => {
    const partition = afterCut(9);
    partition.endAfterCut(150, Number.POSITIVE_INFINITY);
    expect(partition.allFailures).toEqual(['topic-0: records 9 to 9 of p were acknowledged and are lost']);
  });

  test('changes nothing where nothing acknowledged is lost', () => {
    const partition = afterCut(10);
    expect([...partition.endAfterCut(200, 200)]).toEqual([]);
    expect(partition.journal.mayHaveUntil('p')).toBe(12);
  });

  test('finds a loss that is not at the end of the log', () => {
    const partition = afterCut(8, [0, 1, 2, 3, 4, 5, 6, 7, 5, 9]);
    partition.endAfterCut(200, 100);
    expect(partition.allFailures.join()).toContain('is lost, though the log goes on to 8');
  });
});

test('a partition is trimmed only to where it was read some time ago, and read again from there', () => {
  const partition = afterCut(0);
  const value = (number: number): Buffer => recordValue(name, 'p', number);
  expect(partition.offsetToTrimTo(() => 0)).toBeUndefined();
  for (let number = 0; number < 6; number++) {
    partition.checker.see({ offset: number, key: 'p', value: value(number) });
    partition.readToItsEnd();
  }
  expect(partition.offsetToTrimTo(() => 0.99)).toBe(3);
  partition.seeStart(0);
  partition.seeStart(3);
  partition.trimmed(3);
  expect(partition.allFailures).toEqual([]);
  partition.readAgain();
  expect(partition.checker.nextOffset).toBe(3);
  partition.checker.see({ offset: 3, key: 'p', value: value(3) });
  expect(partition.allFailures).toEqual([]);
  partition.seeStart(2);
  partition.seeStart(4);
  expect(partition.allFailures).toHaveLength(2);
});
