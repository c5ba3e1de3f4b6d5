/** write-index-runs.ts DIRECTORY QUEUES ENTRIES...: a run for each number of entries, of the log of synthetic-log.ts. Prints their references. */
import { crc32c } from '../../protocol/records/crc32c.ts';
import type { RunReference } from '../../src/storage/embedded/manifest.ts';
import { NodeFileSystem } from '../../src/storage/embedded/node-file-system.ts';
import { RunWriter } from '../../src/storage/embedded/run-file.ts';
import { entriesAMs, entryBytes, firstTimeMs, locationOfEntry } from './synthetic-log.ts';

/** The entries from number `from` up to `to`, both multiples of the number of queues. */
async function writeRun(
  directory: string,
  number: number,
  queues: number,
  from: number,
  to: number,
): Promise<RunReference> {
  const writer = await RunWriter.create(
    new NodeFileSystem(),
    directory,
    crc32c,
    number,
    locationOfEntry(from),
    locationOfEntry(to),
  );
  for (let queue = 0; queue < queues; queue++) {
    writer.beginQueue(queue + 1);
    for (let entry = from + queue; entry < to; entry += queues) {
      const timeMs = firstTimeMs + Math.floor(entry / entriesAMs);
      writer.add(locationOfEntry(entry), Math.floor(entry / queues), timeMs, entryBytes - 112, 1);
    }
    writer.endQueue(0, 0);
    await writer.writeIfDue();
  }
  return writer.finish();
}

const [directory, queues, ...sizes] = process.argv.slice(2);
const references: RunReference[] = [];
let from = 0;
for (const size of sizes.map(Number)) {
  references.push(await writeRun(directory!, references.length + 1, Number(queues), from, from + size));
  from += size;
}
process.stdout.write(JSON.stringify(references));
