/**
 * Goes through one segment file from its beginning to its end, whatever is damaged in it: after bytes that are no entry it goes on
 * with the next header that says it belongs where it stands. Judges nothing.
 */
import type { PayloadFormat } from '../../engine.ts';
import type { Checksum } from '../checksum.ts';
import {
  checkHeader,
  EntryHeader,
  entryBytes,
  headerBytes,
  isQueueKind,
  kindSegmentEnd,
} from '../entry-header.ts';
import type { FileSystem } from '../file-system.ts';
import { locationOf, segmentFileName } from '../location.ts';
import { SegmentWindow } from '../log-scan.ts';

export type SegmentItem =
  | {
      readonly kind: 'entry';
      readonly location: number;
      /** Of its header, payload and padding. */
      readonly totalBytes: number;
      /** The walk's own, filled again for the next entry. */
      readonly header: EntryHeader;
      /** Valid during the visit. */
      readonly payload: Buffer;
      readonly isPayloadIntact: boolean;
      /** The bytes up to the next entry are zeros, as written. */
      readonly isPadded: boolean;
      /** Its payload bears the offset and epoch of its header, as reads give it. */
      readonly isStamped: boolean;
    }
  | {
      readonly kind: 'damage';
      /** Locations. */
      readonly from: number;
      readonly to: number;
      readonly reason: string;
      /** The file ends here. */
      readonly isAtEnd: boolean;
    };

export interface WalkOptions {
  readonly fileSystem: FileSystem;
  /** Of the segments. */
  readonly directory: string;
  readonly segment: number;
  readonly crc32c: Checksum;
  readonly format: PayloadFormat;
  /** Offset in the file, to go no further. */
  readonly untilOffset?: number;
}

export interface WalkResult {
  /** Undefined where there is no such file. */
  readonly sizeBytes: number | undefined;
  /** The last entry says that the segment ends by intent. */
  readonly isEnded: boolean;
}

/** Throws the system's errors, and a RangeError for an intact entry of a newer format. */
export async function walkSegment(
  options: WalkOptions,
  visit: (item: SegmentItem) => void | Promise<void>,
): Promise<WalkResult> {
  const { fileSystem, directory, segment, crc32c, format } = options;
  const path = `${directory}/${segmentFileName(segment)}`;
  const window = await SegmentWindow.open(fileSystem, path, segment);
  if (window === undefined) return { sizeBytes: undefined, isEnded: false };
  const header = new EntryHeader();
  const until = Math.min(options.untilOffset ?? window.sizeBytes, window.sizeBytes);
  let isEnded = false;
  let damageAt = -1;
  let reason = '';
  const flush = async (to: number, isAtEnd: boolean): Promise<void> => {
    if (damageAt < 0) return;
    const from = locationOf(segment, damageAt);
    damageAt = -1;
    await visit({ kind: 'damage', from, to: locationOf(segment, to), reason, isAtEnd });
  };
  const damaged = (offset: number, why: string): void => {
    if (damageAt >= 0) return;
    damageAt = offset;
    reason = why;
  };
  try {
    let offset = 0;
    while (offset < until) {
      if (!(await window.load(offset, headerBytes))) {
        damaged(offset, 'the header is cut off');
        break;
      }
      const location = locationOf(segment, offset);
      const verdict = checkHeader(window.dataView, window.bytes, window.indexOf(offset), location, crc32c);
      if (verdict === 'newer-format') {
        throw new RangeError(`${path} byte ${offset} is an entry of a newer format`);
      }
      if (verdict === 'damaged') {
        damaged(offset, 'there is no intact header');
        offset += 8;
        continue;
      }
      header.decode(window.dataView, window.indexOf(offset));
      const { payloadBytes } = header;
      const totalBytes = entryBytes(payloadBytes);
      if (offset + totalBytes > window.sizeBytes || !(await window.load(offset, totalBytes))) {
        // Its length is right (the header is intact): nothing can follow it in this file.
        await flush(offset, false);
        damaged(offset, 'the entry is cut off');
        break;
      }
      await flush(offset, false);
      const start = window.indexOf(offset) + headerBytes;
      const isPayloadIntact = isQueueKind(header.kind)
        ? format.isIntact(window.bytes, start, payloadBytes)
        : crc32c(window.bytes, start, start + payloadBytes) === header.payloadChecksum;
      await visit({
        kind: 'entry',
        location,
        totalBytes,
        header,
        payload: window.view(offset + headerBytes, payloadBytes),
        isPayloadIntact,
        isPadded: areZeros(window.bytes, start + payloadBytes, start + totalBytes - headerBytes),
        isStamped:
          !isQueueKind(header.kind) ||
          !isPayloadIntact ||
          format.isStamped(window.bytes, start, header.baseOffset, header.epoch),
      });
      offset += totalBytes;
      isEnded = header.kind === kindSegmentEnd;
    }
    await flush(until, true);
    return { sizeBytes: window.sizeBytes, isEnded: isEnded && offset >= until };
  } finally {
    await window.close();
  }
}

/**
 * The segment that the entries of a file say they belong to, by the first intact one near its beginning; undefined where there
 * is none.
 */
export async function claimedSegment(options: WalkOptions): Promise<number | undefined> {
  const { fileSystem, directory, segment, crc32c } = options;
  const path = `${directory}/${segmentFileName(segment)}`;
  const window = await SegmentWindow.open(fileSystem, path, segment);
  if (window === undefined) return undefined;
  try {
    const most = Math.min(window.sizeBytes - headerBytes, 1024 * 1024);
    for (let offset = 0; offset <= most; offset += 8) {
      if (!(await window.load(offset, headerBytes))) return undefined;
      const at = window.indexOf(offset);
      const claimed = window.dataView.getFloat64(at + 16, true);
      if (!Number.isSafeInteger(claimed) || claimed < 0 || claimed % 2 ** 32 !== offset) continue;
      if (checkHeader(window.dataView, window.bytes, at, claimed, crc32c) === 'intact') {
        return Math.floor(claimed / 2 ** 32);
      }
    }
    return undefined;
  } finally {
    await window.close();
  }
}

function areZeros(bytes: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (bytes[at] !== 0) return false;
  return true;
}
