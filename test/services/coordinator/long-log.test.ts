import { describe, expect, it } from 'vitest';
import { startStore } from './store-machine.ts';

describe('a million changes of a few names', () => {
  it('leave a log, and a start, that are as small as their state', async () => {
    const store = startStore();
    const { inner } = store.held;
    const queue = async () => store.directory.get('__consumer_offsets')!.partitions[0]!.queue;
    const round = 2_000;
    let largest = 0;
    for (let done = 0; done < 1_000_000; done += round) {
      await Promise.all(
        Array.from({ length: round }, (_, at) => store.set(`name${at % 10}`, `value${done + at}`)),
      );
      largest = Math.max(largest, await inner.sizeBytes(await queue()));
    }
    await store.settle();
    // snapshotLogBytes, and what one turn appends beside it.
    expect(largest).toBeLessThan(2 * 1024 * 1024);
    let readBytes = 0;
    const { read } = inner;
    inner.read = (...call) => {
      const result = read.apply(inner, call);
      if (!(result instanceof Promise) && result.outcome === 'read') readBytes += result.sizeBytes;
      return result;
    };
    const again = store.restart();
    await again.get('name0');
    expect(again.machines[0]!.values).toEqual(
      new Map(Array.from({ length: 10 }, (_, at) => [`name${at}`, `value${999_990 + at}`])),
    );
    expect(readBytes).toBeGreaterThan(0);
    expect(readBytes).toBeLessThan(2 * 1024 * 1024);
  }, 60_000);
});
