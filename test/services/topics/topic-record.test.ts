import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { collisionKey, topicNameFault } from '../../../src/services/topics/topic-name.ts';
import { decodeTopicRecord, encodeTopicRecord } from '../../../src/services/topics/topic-record.ts';

describe('a stored topic', () => {
  it('comes back as it was', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { minLength: 1 }),
        fc.dictionary(fc.string(), fc.string()),
        (queues, overrides) => {
          const record = {
            id: 'abcdefghijklmnopqrstuQ',
            partitions: queues.map((queue, index) => ({ index, queue })),
            overrides: new Map(Object.entries(overrides)),
          };
          expect(decodeTopicRecord(encodeTopicRecord(record))).toEqual(record);
        },
      ),
    );
  });

  it('is small where its queues follow one another', () => {
    const partitions = Array.from({ length: 100_000 }, (_none, index) => ({ index, queue: index + 7 }));
    expect(encodeTopicRecord({ id: 'x', partitions, overrides: new Map() }).toString()).toBe(
      '[1,"x",7,100000,{}]',
    );
  });

  it('of a later version is not guessed at', () => {
    expect(() => decodeTopicRecord(Buffer.from('[2,"x",{}]'))).toThrow('unknown format 2');
  });
});

describe('a topic name', () => {
  it.each(['a', 'A-Z_0.9', '__consumer_offsets', 'x'.repeat(249), '...'])('%s stands', (name) => {
    expect(topicNameFault(name)).toBeUndefined();
  });

  it.each(['', '.', '..', 'x'.repeat(250), 'a b', 'ä', 'a/b', 'a\n'])('%j does not', (name) => {
    expect(topicNameFault(name)).toMatch(/^Topic name is invalid: /);
  });

  it('collides where only . and _ differ', () => {
    expect(collisionKey('a.b_c')).toBe(collisionKey('a_b.c'));
    expect(collisionKey('abc')).toBeUndefined();
  });
});
