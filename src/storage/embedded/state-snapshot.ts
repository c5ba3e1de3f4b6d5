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

/** The content with a line before it that says what it is, and its checksum. */
export function sealSnapshot(kind: string, content: Buffer, crc32c: Checksum): readonly Buffer[] {
  const checksum = crc32c(content, 0, content.length).toString(16).padStart(8, '0');
  return [Buffer.from(`odradek-${kind} 1 ${content.length} ${checksum}\n`, 'latin1'), content];
}

/** Undefined where the file is not what sealSnapshot made. */
export function openSnapshot(kind: string, bytes: Buffer, crc32c: Checksum): Buffer | undefined {
  const lineEnd = bytes.indexOf(0x0a);
  const match = /^odradek-([a-z]+) 1 (\d+) ([0-9a-f]{8})$/.exec(
    bytes.toString('latin1', 0, Math.max(0, lineEnd)),
  );
  if (match === null || match[1] !== kind) return undefined;
  const content = bytes.subarray(lineEnd + 1);
  if (content.length !== Number(match[2])) return undefined;
  return crc32c(content, 0, content.length) === Number.parseInt(match[3]!, 16) ? content : undefined;
}
