/**
 * The payloads of the engine's own entries: changes of the ordered index, and of catalogue, queues, starts and leases. They are
 * what recovery replays, so each says all that is needed to do the same again. Their checksum stands in the entry's header.
 */
import type { CatalogueChange, IndexChange, QueueId } from '../engine.ts';

const updateVersion = 1;
const opCatalogueUpdate = 1;
const opTrim = 2;
const opLease = 3;

export type EngineChange =
  | {
      readonly op: 'catalogue';
      readonly version: number;
      readonly changes: readonly CatalogueChange[];
      readonly createQueues: readonly QueueId[];
      readonly dropQueues: readonly QueueId[];
    }
  | { readonly op: 'trim'; readonly queue: QueueId; readonly toOffset: number; readonly removedBytes: number }
  | { readonly op: 'lease'; readonly name: string; readonly epoch: number };

/** Little-endian fields one after the other. */
export class FieldWriter {
  private bytes = Buffer.allocUnsafe(256);
  private length = 0;

  u8(value: number): void {
    this.reserve(1);
    this.length = this.bytes.writeUInt8(value, this.length);
  }

  u32(value: number): void {
    this.reserve(4);
    this.length = this.bytes.writeUInt32LE(value, this.length);
  }

  f64(value: number): void {
    this.reserve(8);
    this.length = this.bytes.writeDoubleLE(value, this.length);
  }

  /** u32 length (0xffffffff for null) and the bytes. */
  block(value: Uint8Array | null): void {
    if (value === null) {
      this.u32(0xffffffff);
      return;
    }
    this.u32(value.length);
    this.reserve(value.length);
    this.bytes.set(value, this.length);
    this.length += value.length;
  }

  text(value: string): void {
    this.block(Buffer.from(value, 'utf8'));
  }

  take(): Buffer {
    return this.bytes.subarray(0, this.length);
  }

  private reserve(more: number): void {
    if (this.length + more <= this.bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.bytes.length * 2, this.length + more));
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
  }
}

/** Throws a RangeError beyond the end. */
export class FieldReader {
  private readonly bytes: Buffer;
  private at = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.at === this.bytes.length;
  }

  u8(): number {
    return this.bytes.readUInt8(this.at++);
  }

  u32(): number {
    const value = this.bytes.readUInt32LE(this.at);
    this.at += 4;
    return value;
  }

  f64(): number {
    const value = this.bytes.readDoubleLE(this.at);
    this.at += 8;
    return value;
  }

  /** A copy. */
  block(): Buffer | null {
    const length = this.u32();
    if (length === 0xffffffff) return null;
    if (this.at + length > this.bytes.length) throw new RangeError('a length beyond the end');
    const copy = Buffer.from(this.bytes.subarray(this.at, this.at + length));
    this.at += length;
    return copy;
  }

  text(): string {
    return (this.block() ?? Buffer.alloc(0)).toString('utf8');
  }
}

export function encodeIndexChanges(changes: readonly IndexChange[]): Buffer {
  const writer = new FieldWriter();
  writer.u8(updateVersion);
  writer.u32(changes.length);
  for (const { index, key, value } of changes) {
    writer.text(index);
    writer.block(key);
    writer.block(value);
  }
  return writer.take();
}

export function decodeIndexChanges(bytes: Buffer): IndexChange[] {
  const reader = new FieldReader(bytes);
  checkVersion(reader.u8());
  const count = reader.u32();
  const changes: IndexChange[] = [];
  for (let at = 0; at < count; at++) {
    const index = reader.text();
    const key = reader.block() ?? Buffer.alloc(0);
    changes.push({ index, key, value: reader.block() });
  }
  return changes;
}

export function encodeEngineChange(change: EngineChange): Buffer {
  const writer = new FieldWriter();
  writer.u8(updateVersion);
  if (change.op === 'catalogue') {
    writer.u8(opCatalogueUpdate);
    writer.f64(change.version);
    writer.u32(change.changes.length);
    for (const { key, value } of change.changes) {
      writer.text(key);
      writer.block(value);
    }
    writer.u32(change.createQueues.length);
    for (const queue of change.createQueues) writer.f64(queue);
    writer.u32(change.dropQueues.length);
    for (const queue of change.dropQueues) writer.f64(queue);
  } else if (change.op === 'trim') {
    writer.u8(opTrim);
    writer.f64(change.queue);
    writer.f64(change.toOffset);
    writer.f64(change.removedBytes);
  } else {
    writer.u8(opLease);
    writer.text(change.name);
    writer.f64(change.epoch);
  }
  return writer.take();
}

export function decodeEngineChange(bytes: Buffer): EngineChange {
  const reader = new FieldReader(bytes);
  checkVersion(reader.u8());
  const op = reader.u8();
  if (op === opTrim) {
    return { op: 'trim', queue: reader.f64(), toOffset: reader.f64(), removedBytes: reader.f64() };
  }
  if (op === opLease) return { op: 'lease', name: reader.text(), epoch: reader.f64() };
  if (op !== opCatalogueUpdate) throw new RangeError(`an engine entry of an unknown kind ${op}`);
  const version = reader.f64();
  const changes: CatalogueChange[] = [];
  for (let left = reader.u32(); left > 0; left--) changes.push({ key: reader.text(), value: reader.block() });
  return {
    op: 'catalogue',
    version,
    changes,
    createQueues: readQueues(reader),
    dropQueues: readQueues(reader),
  };
}

function readQueues(reader: FieldReader): QueueId[] {
  const queues: QueueId[] = [];
  for (let left = reader.u32(); left > 0; left--) queues.push(reader.f64());
  return queues;
}

function checkVersion(version: number): void {
  if (version !== updateVersion) throw new RangeError(`an engine entry of an unknown version ${version}`);
}
