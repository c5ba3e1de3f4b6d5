/**
 * The fixed header before every payload of the commit log, format version 1. Little-endian; 64-bit numbers are safe
 * integers held as doubles. Its CRC-32C covers everything after the checksum field, so a header that passes is wholly ours.
 *
 *   0 u32 magic             8 u8 version        16 f64 location        72 f64 group: location of its first entry
 *   4 u32 CRC of 8..112     9 u8 kind           24 f64 queue           80 f64 producer facts: counts for queue
 *                          10 u8 flags          32 f64 base offset     88 f64 producer id
 *                          11 u8 zero           40 u32 count           96 i32 producer epoch
 *                          12 u32 payload bytes 44 u32 log epoch      100 i32 first sequence, 104 i32 last sequence
 *                                               48 f64 store time     108 u32 CRC of the payload (engine's own kinds, else 0)
 *                                               56 f64 largest timestamp
 *                                               64 f64 the position known durable when it was written
 *
 * Entries begin at multiples of 8; the bytes between a payload's end and the next entry are zero.
 */
import type { EntryFacts, EntryKind, ProducerFacts } from '../engine.ts';
import type { Checksum } from './checksum.ts';

export const headerBytes = 112;
export const entryFormatVersion = 1;
const magic = 0x3152444f; // "ODR1"

export const kindData = 1;
export const kindState = 2;
export const kindMarker = 3;
/** Changes of the ordered index. Queue 0. */
export const kindIndexChanges = 4;
/** Changes of the catalogue, queues, starts and leases. Queue 0. */
export const kindEngineChanges = 5;
/** The segment ends here by intent. Queue 0, no payload. */
export const kindSegmentEnd = 6;
/** Put by a repair in the place of what could not be read; says which offsets were lost. See lost-entry.ts. */
export const kindLost = 8;

export const flagLastOfGroup = 1;
export const flagSync = 2;
export const flagProducer = 4;
export const flagTransactional = 8;
/** The cleaner copied it: location and group are its new ones, and it is a group of its own whatever it was in. */
export const flagMoved = 16;

export function isQueueKind(kind: number): boolean {
  return kind >= kindData && kind <= kindMarker;
}

export function kindCode(kind: EntryKind): number {
  return kind === 'data' ? kindData : kind === 'state' ? kindState : kindMarker;
}

function kindOf(code: number): EntryKind {
  return code === kindState ? 'state' : code === kindMarker ? 'marker' : 'data';
}

/** Bytes that an entry takes in the log. */
export function entryBytes(payloadBytes: number): number {
  return (headerBytes + payloadBytes + 7) & ~7;
}

/** A header's fields. One object is filled again and again: nothing is allocated an entry. */
export class EntryHeader {
  kind = 0;
  flags = 0;
  payloadBytes = 0;
  location = 0;
  queue = 0;
  baseOffset = 0;
  count = 0;
  epoch = 0;
  storeTimeMs = 0;
  maxTimestampMs = -1;
  durablePosition = 0;
  group = 0;
  countsForQueue = 0;
  producerId = -1;
  producerEpoch = -1;
  firstSequence = -1;
  lastSequence = -1;
  payloadChecksum = 0;

  setProducer(facts: ProducerFacts | undefined): void {
    if (facts === undefined) {
      this.countsForQueue = 0;
      this.producerId = -1;
      this.producerEpoch = -1;
      this.firstSequence = -1;
      this.lastSequence = -1;
    } else {
      this.flags |= flagProducer | (facts.isTransactional ? flagTransactional : 0);
      this.countsForQueue = facts.countsForQueue;
      this.producerId = facts.producerId;
      this.producerEpoch = facts.producerEpoch;
      this.firstSequence = facts.firstSequence;
      this.lastSequence = facts.lastSequence;
    }
  }

  get producer(): ProducerFacts | undefined {
    if ((this.flags & flagProducer) === 0) return undefined;
    return {
      countsForQueue: this.countsForQueue,
      producerId: this.producerId,
      producerEpoch: this.producerEpoch,
      firstSequence: this.firstSequence,
      lastSequence: this.lastSequence,
      isTransactional: (this.flags & flagTransactional) !== 0,
    };
  }

  get isLastOfGroup(): boolean {
    return (this.flags & flagLastOfGroup) !== 0;
  }

  /** Writes the header at `at`; `view` and `bytes` are of the same memory. */
  encode(view: DataView, bytes: Uint8Array, at: number, crc32c: Checksum): void {
    view.setUint32(at, magic, true);
    view.setUint8(at + 8, entryFormatVersion);
    view.setUint8(at + 9, this.kind);
    view.setUint8(at + 10, this.flags);
    view.setUint8(at + 11, 0);
    view.setUint32(at + 12, this.payloadBytes, true);
    view.setFloat64(at + 16, this.location, true);
    view.setFloat64(at + 24, this.queue, true);
    view.setFloat64(at + 32, this.baseOffset, true);
    view.setUint32(at + 40, this.count, true);
    view.setUint32(at + 44, this.epoch, true);
    view.setFloat64(at + 48, this.storeTimeMs, true);
    view.setFloat64(at + 56, this.maxTimestampMs, true);
    view.setFloat64(at + 64, this.durablePosition, true);
    view.setFloat64(at + 72, this.group, true);
    view.setFloat64(at + 80, this.countsForQueue, true);
    view.setFloat64(at + 88, this.producerId, true);
    view.setInt32(at + 96, this.producerEpoch, true);
    view.setInt32(at + 100, this.firstSequence, true);
    view.setInt32(at + 104, this.lastSequence, true);
    view.setUint32(at + 108, this.payloadChecksum, true);
    view.setUint32(at + 4, crc32c(bytes, at + 8, at + headerBytes), true);
  }

  /** Fills the fields from a header that was checked. */
  decode(view: DataView, at: number): void {
    this.kind = view.getUint8(at + 9);
    this.flags = view.getUint8(at + 10);
    this.payloadBytes = view.getUint32(at + 12, true);
    this.location = view.getFloat64(at + 16, true);
    this.queue = view.getFloat64(at + 24, true);
    this.baseOffset = view.getFloat64(at + 32, true);
    this.count = view.getUint32(at + 40, true);
    this.epoch = view.getUint32(at + 44, true);
    this.storeTimeMs = view.getFloat64(at + 48, true);
    this.maxTimestampMs = view.getFloat64(at + 56, true);
    this.durablePosition = view.getFloat64(at + 64, true);
    this.group = view.getFloat64(at + 72, true);
    this.countsForQueue = view.getFloat64(at + 80, true);
    this.producerId = view.getFloat64(at + 88, true);
    this.producerEpoch = view.getInt32(at + 96, true);
    this.firstSequence = view.getInt32(at + 100, true);
    this.lastSequence = view.getInt32(at + 104, true);
    this.payloadChecksum = view.getUint32(at + 108, true);
  }

  toFacts(): EntryFacts {
    const facts = {
      kind: kindOf(this.kind),
      baseOffset: this.baseOffset,
      count: this.count,
      sizeBytes: this.payloadBytes,
      maxTimestampMs: this.maxTimestampMs,
      storeTimeMs: this.storeTimeMs,
      epoch: this.epoch,
    };
    const producer = this.producer;
    return producer === undefined ? facts : { ...facts, producer };
  }
}

export type HeaderVerdict = 'intact' | 'damaged' | 'newer-format';

/** Whether an intact header stands at `at` that says it belongs at `location`. `at + headerBytes` must be inside the bytes. */
export function checkHeader(
  view: DataView,
  bytes: Uint8Array,
  at: number,
  location: number,
  crc32c: Checksum,
): HeaderVerdict {
  if (view.getUint32(at, true) !== magic) return 'damaged';
  if (view.getFloat64(at + 16, true) !== location) return 'damaged';
  if (view.getUint32(at + 4, true) !== crc32c(bytes, at + 8, at + headerBytes)) return 'damaged';
  return view.getUint8(at + 8) > entryFormatVersion ? 'newer-format' : 'intact';
}

/** The log epoch in an intact header. */
export function epochAt(view: DataView, at: number): number {
  return view.getUint32(at + 44, true);
}

/** True where an intact header is that of the queue's entry at that offset. */
export function isHeaderOf(
  view: DataView,
  at: number,
  queue: number,
  baseOffset: number,
  payloadBytes: number,
): boolean {
  return (
    view.getFloat64(at + 24, true) === queue &&
    view.getFloat64(at + 32, true) === baseOffset &&
    view.getUint32(at + 12, true) === payloadBytes
  );
}
