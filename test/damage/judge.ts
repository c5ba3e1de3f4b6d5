/**
 * Judges one damage: what a start serves, what verify finds, what repair makes of it and what a start serves then, all against
 * the journal. The answers are what was wrong; none is what is wanted.
 */
import { crc32c } from '../../protocol/records/crc32c.ts';
import { layoutOf } from '../../src/storage/embedded/directory-layout.ts';
import { EntryHeader, isQueueKind } from '../../src/storage/embedded/entry-header.ts';
import { isCleanedSegment, locationOf, segmentOfFileName } from '../../src/storage/embedded/location.ts';
import { repairDirectory } from '../../src/storage/embedded/offline/repair.ts';
import { walkSegment } from '../../src/storage/embedded/offline/segment-walk.ts';
import type { QueueId, StorageEngine } from '../../src/storage/engine.ts';
import { type Log, silentLog } from '../../src/util/log.ts';
import { type Damage, damage } from './damages.ts';
import type { MemoryFiles } from './memory-files.ts';
import { batchFormat, indexName, open, type Prepared, root } from './prepared.ts';

export interface Verdict {
  readonly damage: Damage;
  readonly wrong: readonly string[];
  readonly outcome: 'refused' | 'served';
  /** Entries that were answered damaged or could not be found, before and after the repair. */
  readonly lostBefore: number;
  readonly lostAfter: number;
}

/** Entry by entry, what the log of an undamaged directory holds. */
export interface LogMap {
  readonly entries: readonly {
    readonly path: string;
    readonly from: number;
    readonly to: number;
    readonly location: number;
    readonly header: EntryHeader;
  }[];
  /** What the manifest says was durable; the entries' headers may say more. */
  readonly durablePosition: number;
}

const operatorErrors = new Set(['DataLossError', 'ManifestError']);
const layout = layoutOf(root);
/** A damaged run is made again from the log while reads of it are refused. */
const longestRebuildMs = 10_000;

export async function mapLog(files: MemoryFiles): Promise<LogMap> {
  const entries: LogMap['entries'][number][] = [];
  for (const path of files.files()) {
    const segment = segmentOfFileName(path.slice(path.lastIndexOf('/') + 1));
    if (segment === undefined) continue;
    await walkSegment(
      { fileSystem: files, directory: layout.commitLog, segment, crc32c, format: batchFormat },
      (item) => {
        if (item.kind === 'damage') throw new Error(`${path} is damaged before it is`);
        const header = Object.assign(new EntryHeader(), item.header);
        const from = item.location - locationOf(segment, 0);
        entries.push({ path, from, to: from + item.totalBytes, location: item.location, header });
      },
    );
  }
  const manifest = JSON.parse(
    files.contents(`${root}/MANIFEST`).toString('utf8').split('\n').slice(1).join('\n'),
  ) as { durablePosition: number };
  return { entries, durablePosition: manifest.durablePosition };
}

/** The log and the manifest, and what it names. */
function isNamed(files: MemoryFiles, path: string): boolean {
  const number = /(\d{10})\.(run|state|producers|index)$/.exec(path)?.[1];
  if (number === undefined) return !path.endsWith('.new');
  return files
    .contents(`${root}/MANIFEST`)
    .toString('utf8')
    .includes(`"number": ${Number(number)},`);
}

interface Served {
  readonly lost: ReadonlyMap<QueueId, Set<number>>;
  readonly count: number;
}

export async function judge(prepared: Prepared, map: LogMap, seed: number): Promise<Verdict | undefined> {
  const files = prepared.files.copy();
  const done = damage(prepared, files, seed);
  if (done === undefined) return undefined;
  const wrong: string[] = [];
  const touched = touchedEntries(prepared.files, files, map);
  const lostBefore = await startAndRead(prepared, files.copy(), touched, wrong, 'start');
  // Everything but the log is kept twice, or made again from it.
  if (lostBefore === undefined && !done.path.includes('/commitlog/'))
    wrong.push('start: refused, though the log is whole');
  const report = await repairDirectory({
    fileSystem: files,
    layout,
    crc32c,
    format: batchFormat,
    nowMs: 1_700_000_000_000,
    isDryRun: false,
  });
  // What verify says of the directory, before and after.
  const survey = report.before;
  // Whole files behind all that is known to have been durable: nothing says that they were ever there.
  // And files that the manifest does not name are nobody's.
  const mayFindNothing = touched.tornAt < Number.POSITIVE_INFINITY || !isNamed(prepared.files, done.path);
  if (survey.findings.length === 0 && !mayFindNothing) wrong.push('verify found nothing');
  if (report.refusals.length > 0) wrong.push(`repair refused: ${report.refusals.join('; ')}`);
  const again = await repairDirectory({
    fileSystem: files,
    layout,
    crc32c,
    format: batchFormat,
    nowMs: 1_700_000_001_000,
    isDryRun: false,
  });
  const left = again.before.findings.filter(({ severity }) => severity === 'damage');
  if (left.length > 0) wrong.push(`verify found after repair: ${left[0]!.message}`);
  if (again.actions.length > 0) wrong.push(`a second repair did: ${again.actions[0]!.message}`);
  const lostAfter = await startAndRead(prepared, files, touched, wrong, 'after repair');
  if (lostAfter === undefined) wrong.push('the start was refused after repair');
  return {
    damage: done,
    wrong,
    outcome: lostBefore === undefined ? 'refused' : 'served',
    lostBefore: lostBefore?.count ?? 0,
    lostAfter: lostAfter?.count ?? 0,
  };
}

/** What may be lost: entries whose bytes were changed. */
interface Touched {
  readonly offsets: ReadonlyMap<QueueId, ReadonlySet<number>>;
  /** What the engine notes for itself was hit where no snapshot has it: trims, new queues, index rows. */
  readonly isStateHit: boolean;
  /** Everything from here on may be cut off: nothing says that it was durable. */
  readonly tornAt: number;
  readonly isAny: boolean;
}

function touchedEntries(before: MemoryFiles, after: MemoryFiles, map: LogMap): Touched {
  const offsets = new Map<QueueId, Set<number>>();
  let isStateHit = false;
  let tornAt = Number.POSITIVE_INFINITY;
  const changes = new Map<string, readonly [Buffer, Buffer]>();
  for (const path of before.files()) {
    const old = before.contents(path);
    const fresh = after.files().includes(path) ? after.contents(path) : Buffer.alloc(0);
    if (!old.equals(fresh)) changes.set(path, [old, fresh]);
  }
  let durablePosition = map.durablePosition;
  const hit = map.entries.filter(({ path, from, to, header }) => {
    const change = changes.get(path);
    const isSame =
      change === undefined ||
      (change[1].length >= to && change[0].subarray(from, to).equals(change[1].subarray(from, to)));
    if (isSame) durablePosition = Math.max(durablePosition, header.durablePosition);
    return !isSame;
  });
  for (const { header, location } of hit) {
    if (location >= durablePosition && !isCleanedSegment(Math.floor(location / 2 ** 32))) {
      tornAt = Math.min(tornAt, location);
    }
    if (!isQueueKind(header.kind)) isStateHit = true;
    else {
      const set = offsets.get(header.queue) ?? new Set();
      for (let offset = header.baseOffset; offset < header.baseOffset + header.count; offset++)
        set.add(offset);
      offsets.set(header.queue, set);
    }
  }
  if (tornAt < Number.POSITIVE_INFINITY) {
    // Its group goes with it, and everything behind.
    for (const { header, location } of map.entries) {
      if (header.group === groupAt(map, tornAt)) tornAt = Math.min(tornAt, location);
    }
    for (const { header, location } of map.entries) {
      if (location < tornAt || isCleanedSegment(Math.floor(location / 2 ** 32))) continue;
      if (!isQueueKind(header.kind)) isStateHit = true;
      const set = offsets.get(header.queue) ?? new Set();
      for (let offset = header.baseOffset; offset < header.baseOffset + header.count; offset++)
        set.add(offset);
      offsets.set(header.queue, set);
    }
  }
  return { offsets, isStateHit, tornAt, isAny: offsets.size > 0 };
}

function groupAt(map: LogMap, location: number): number | undefined {
  return map.entries.find((entry) => entry.location === location)?.header.group;
}

/** Undefined where the start is refused. */
async function startAndRead(
  prepared: Prepared,
  files: MemoryFiles,
  touched: Touched,
  wrong: string[],
  when: string,
): Promise<Served | undefined> {
  const errors: string[] = [];
  const log: Log = {
    ...silentLog,
    error: (fields, message) => void errors.push(`${message} ${JSON.stringify(fields)}`),
    component: () => log,
  };
  let engine: StorageEngine;
  try {
    engine = await open(files, { log });
  } catch (error) {
    const { name, message } = error as Error;
    if (!operatorErrors.has(name)) wrong.push(`${when}: the start failed with ${(error as Error).stack}`);
    else if (message.length < 20) wrong.push(`${when}: refused without a reason`);
    else if (when !== 'start') wrong.push(`${when}: refused: ${message}`);
    return undefined;
  }
  try {
    return await readAll(prepared, engine, touched, wrong, when);
  } finally {
    await engine.close().catch((error: unknown) => wrong.push(`${when}: close failed: ${String(error)}`));
  }
}

async function readAll(
  prepared: Prepared,
  engine: StorageEngine,
  touched: Touched,
  wrong: string[],
  when: string,
): Promise<Served> {
  const lost = new Map<QueueId, Set<number>>();
  let count = 0;
  for (const [queue, { startOffset, entries }] of prepared.queues) {
    const mayLose = touched.offsets.get(queue);
    const bounds = await engine.bounds(queue);
    if (bounds === undefined) {
      if (!touched.isStateHit) wrong.push(`${when}: queue ${queue} is gone`);
      continue;
    }
    const isStartRight =
      bounds.startOffset === startOffset || (touched.isStateHit && bounds.startOffset < startOffset);
    if (!isStartRight)
      wrong.push(`${when}: queue ${queue} begins at ${bounds.startOffset}, not ${startOffset}`);
    const served = new Map<number, Buffer>();
    const damaged: [number, number][] = [];
    for (let offset = Math.max(startOffset, bounds.startOffset), refusedMs: number | undefined; ; ) {
      let result: Awaited<ReturnType<StorageEngine['read']>>;
      try {
        result = await engine.read(queue, { fromOffset: offset, maxBytes: 4000, atLeastOne: true });
      } catch (error) {
        refusedMs ??= performance.now();
        const isOverdue = performance.now() - refusedMs > longestRebuildMs;
        if ((error as Error).name !== 'RunDamagedError' || isOverdue) {
          wrong.push(`${when}: a read of queue ${queue} at ${offset} failed: ${(error as Error).message}`);
          break;
        }
        await new Promise((resolve) => setTimeout(resolve, 1));
        continue;
      }
      if (result.outcome === 'damaged') {
        damaged.push([result.baseOffset, result.nextOffset]);
        if (result.nextOffset <= offset) {
          wrong.push(`${when}: a read of queue ${queue} stands still at ${offset}`);
          break;
        }
        offset = result.nextOffset;
        continue;
      }
      if (result.outcome !== 'read') {
        if (offset < bounds.visibleEndOffset)
          wrong.push(`${when}: a read of queue ${queue} at ${offset}: ${result.outcome}`);
        break;
      }
      if (result.payloads.length === 0) {
        if (offset < bounds.visibleEndOffset) {
          wrong.push(
            `${when}: queue ${queue} gives nothing at ${offset}, before its end ${bounds.visibleEndOffset}`,
          );
        }
        break;
      }
      for (const payload of result.payloads) {
        for (let at = 0; at < payload.length; ) {
          const sizeBytes = payload.readInt32BE(at + 8) + 12;
          served.set(Number(payload.readBigInt64BE(at)), Buffer.from(payload.subarray(at, at + sizeBytes)));
          at += sizeBytes;
        }
      }
      offset = result.nextOffset;
      result.release();
    }
    for (const { baseOffset, count: records, bytes } of entries) {
      if (baseOffset + records <= startOffset) continue;
      const found = served.get(baseOffset);
      served.delete(baseOffset);
      if (found === undefined) {
        const isReported = damaged.some(([from, to]) => baseOffset >= from && baseOffset + records <= to);
        const mayBe = mayLose?.has(baseOffset) === true;
        count++;
        if (!mayBe)
          wrong.push(
            `${when}: offset ${baseOffset} of queue ${queue} is lost, though its bytes are as they were`,
          );
        // The header of a queue's last entry is gone and nothing else names it: verify and repair report the place alone.
        const isUnnamed = when !== 'start' && baseOffset >= bounds.visibleEndOffset;
        if (mayBe && !isReported && !isUnnamed && touched.tornAt === Number.POSITIVE_INFINITY) {
          wrong.push(`${when}: offset ${baseOffset} of queue ${queue} is passed over in silence`);
        }
        continue;
      }
      // The epoch is the engine's to set.
      bytes.copy(found, 12, 12, 16);
      if (!found.equals(bytes)) wrong.push(`${when}: offset ${baseOffset} of queue ${queue} has other bytes`);
    }
    for (const baseOffset of served.keys()) {
      if (baseOffset >= startOffset)
        wrong.push(`${when}: offset ${baseOffset} of queue ${queue} was never put there`);
    }
  }
  for (const [key, value] of prepared.catalogue) {
    if (engine.catalogue.get(key)?.value.toString() !== value && !touched.isStateHit) {
      wrong.push(`${when}: ${key} of the catalogue is ${engine.catalogue.get(key)?.value.toString()}`);
    }
  }
  const rows = await engine.index(indexName).range({ limit: 1000 });
  const found = rows.map(({ key, value }) => `${key}=${value}`).join();
  const expected = [...prepared.rows]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${value}`)
    .join();
  if (found !== expected && !touched.isStateHit) wrong.push(`${when}: the ordered index has other rows`);
  return { lost, count };
}
