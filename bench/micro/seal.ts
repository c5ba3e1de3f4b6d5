/**
 * What the moments cost in which everybody waits, at 100,000 queues: cutting the index table off, and encoding the state for a
 * snapshot. `node scripts/run-ts.mjs bench/micro/seal.ts [queues]`.
 */
import { CatalogueTable } from '../../src/storage/catalogue-table.ts';
import { ConsumeQueueIndex } from '../../src/storage/embedded/consume-queue-index.ts';
import { QueueState } from '../../src/storage/embedded/queue-state.ts';
import { encodeState } from '../../src/storage/embedded/state-snapshot.ts';

const queueCount = Number(process.argv[2] ?? 100_000);
const queues = new Map<number, QueueState>();
for (let id = 1; id <= queueCount; id++) queues.set(id, new QueueState(id));
const table = new CatalogueTable();
const topics = queueCount / 10;
table.apply(
  Array.from({ length: topics }, (_, at) => ({ key: `topic/small-${at}`, value: Buffer.alloc(120, 'x') })),
);
const index = new ConsumeQueueIndex();

function time(name: string, action: () => unknown): void {
  const cpu = process.cpuUsage();
  action();
  const used = process.cpuUsage(cpu);
  console.log(`${name.padEnd(40)} ${((used.user + used.system) / 1000).toFixed(2)} ms CPU`);
}

for (let round = 0; round < 5; round++) {
  let location = 0;
  for (const queue of queues.values()) {
    for (let row = 0; row < 2; row++) index.add(queue, ++location, queue.nextOffset++, 1, 100, 1, 1);
  }
  const frozen = index.freeze(0, location);
  index.replaceFrozen(frozen, undefined);
  for (const queue of queues.values()) index.add(queue, ++location, queue.nextOffset++, 1, 100, 1, 1);
  time('cut off', () => index.replaceFrozen(index.freeze(0, location), undefined));
  time('list the catalogue', () => table.list(''));
  time('encode the state', () =>
    encodeState({
      catalogueVersion: 1,
      catalogue: table.list(''),
      queues: queues.values(),
      queueCount: queues.size,
      leases: new Map(),
    }),
  );
}
