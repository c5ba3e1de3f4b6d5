/** The file that holds catalogue, queues and leases as of a place in the log. One pass of bytes with a checksum at its end. */
import type { CatalogueEntry, QueueId } from '../engine.ts';
import type { Checksum } from './checksum.ts';
import { FieldReader, FieldWriter } from './engine-changes.ts';

const snapshotVersion = 1;
const queueBytes = 32;

export interface QueueRecord {
  readonly id: QueueId;
  readonly startOffset: number;
  readonly nextOffset: number;
  readonly sizeBytes: number;
}

export interface EngineState {
  readonly catalogueVersion: number;
  readonly catalogue: readonly CatalogueEntry[];
  readonly queues: Iterable<QueueRecord>;
  readonly queueCount: number;
  readonly leases: ReadonlyMap<string, number>;
}

export function encodeState(state: EngineState): Buffer {
  const writer = new FieldWriter();
  writer.u8(snapshotVersion);
  writer.f64(state.catalogueVersion);
  writer.u32(state.catalogue.length);
  for (const { key, value, version } of state.catalogue) {
    writer.text(key);
    writer.block(value);
    writer.f64(version);
  }
  // There may be a hundred thousand of them, and everybody waits meanwhile.
  const queues = Buffer.allocUnsafeSlow(state.queueCount * queueBytes);
  const view = new DataView(queues.buffer, queues.byteOffset, queues.length);
  let at = 0;
  for (const { id, startOffset, nextOffset, sizeBytes } of state.queues) {
    view.setFloat64(at, id, true);
    view.setFloat64(at + 8, startOffset, true);
    view.setFloat64(at + 16, nextOffset, true);
    view.setFloat64(at + 24, sizeBytes, true);
    at += queueBytes;
  }
  writer.block(queues);
  writer.u32(state.leases.size);
  for (const [name, epoch] of state.leases) {
    writer.text(name);
    writer.f64(epoch);
  }
  return writer.take();
}

/** Throws a RangeError on bytes that encodeState did not write. */
export function decodeState(bytes: Buffer): EngineState {
  const reader = new FieldReader(bytes);
  if (reader.u8() !== snapshotVersion) throw new RangeError('a state snapshot of an unknown version');
  const catalogueVersion = reader.f64();
  const catalogue: CatalogueEntry[] = [];
  for (let left = reader.u32(); left > 0; left--) {
    const key = reader.text();
    catalogue.push({ key, value: reader.block() ?? Buffer.alloc(0), version: reader.f64() });
  }
  const queues: QueueRecord[] = [];
  const block = reader.block() ?? Buffer.alloc(0);
  for (let at = 0; at < block.length; at += queueBytes) {
    queues.push({
      id: block.readDoubleLE(at),
      startOffset: block.readDoubleLE(at + 8),
      nextOffset: block.readDoubleLE(at + 16),
      sizeBytes: block.readDoubleLE(at + 24),
    });
  }
  const leases = new Map<string, number>();
  for (let left = reader.u32(); left > 0; left--) leases.set(reader.text(), reader.f64());
  if (!reader.isAtEnd) throw new RangeError('a state snapshot of the wrong length');
  return { catalogueVersion, catalogue, queues, queueCount: queues.length, leases };
}

/**
 * The content with a line before it that says what it is, of which number and place in the log, and a checksum of all that: so
 * that an older snapshot under a newer one's name is found out.
 */
export function sealSnapshot(
  kind: SnapshotKind,
  number: number,
  position: number,
  content: Buffer,
  crc32c: Checksum,
): readonly Buffer[] {
  const head = `odradek-${kind} 2 ${number} ${position} ${content.length}`;
  const checksum = checksumOf(head, content, crc32c).toString(16).padStart(8, '0');
  return [Buffer.from(`${head} ${checksum}\n`, 'latin1'), content];
}

export type SnapshotKind = 'state' | 'producers';

export interface OpenedSnapshot {
  readonly content: Buffer;
  /** Undefined in a file of version 1, which does not say it. */
  readonly number: number | undefined;
  readonly position: number | undefined;
}

/** Undefined where the file is not what sealSnapshot made. Throws a RangeError for a newer version. */
export function openSnapshot(
  kind: SnapshotKind,
  bytes: Buffer,
  crc32c: Checksum,
): OpenedSnapshot | undefined {
  const lineEnd = bytes.indexOf(0x0a);
  const line = bytes.toString('latin1', 0, Math.max(0, lineEnd));
  const match = /^(odradek-([a-z]+) (\d+) (?:(\d+) (\d+) )?(\d+)) ([0-9a-f]{8})$/.exec(line);
  if (match === null || match[2] !== kind) return undefined;
  const isOld = match[3] === '1';
  const content = bytes.subarray(lineEnd + 1);
  if (content.length !== Number(match[6]) || isOld !== (match[4] === undefined)) return undefined;
  const checksum = isOld ? crc32c(content, 0, content.length) : checksumOf(match[1]!, content, crc32c);
  if (checksum !== Number.parseInt(match[7]!, 16)) return undefined;
  if (Number(match[3]) > 2) throw new RangeError(`a ${kind} snapshot of a newer format, ${match[3]}`);
  if (isOld) return { content, number: undefined, position: undefined };
  return { content, number: Number(match[4]), position: Number(match[5]) };
}

function checksumOf(head: string, content: Buffer, crc32c: Checksum): number {
  const first = Buffer.from(head, 'latin1');
  return crc32c(content, 0, content.length, crc32c(first, 0, first.length));
}
