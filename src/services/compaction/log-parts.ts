/**
 * Where Kafka's partitions have segments, ours have none. The rules of compaction speak of segments all the same: the active one
 * is not cleaned, and lags count for a segment as a whole. So what is dirty is cut into parts where Kafka would have begun a new segment
 * (UnifiedLog.maybeRoll): before a batch that makes the part larger than segment.bytes, or whose time lies more than segment.ms
 * after the time of the part's first batch. One thing is added: a part to which nothing was appended for segment.ms ends as well,
 * so that a partition which got quiet is cleaned, too. Pure.
 */
import type { EntryFacts } from '../../storage/engine.ts';

export interface PartLimits {
  readonly segmentBytes: number;
  /** segment.ms, or max.compaction.lag.ms where that is less. */
  readonly segmentMs: number;
  /** A part of so many entries is closed as well; undefined: whatever their number. */
  readonly maxEntries?: number;
}

/** Entries that lie side by side. */
export interface LogPart {
  readonly baseOffset: number;
  endOffset: number;
  sizeBytes: number;
  records: number;
  entries: number;
  /** Time of the first batch: its own where it has one and that is past, else when it was stored. */
  firstTimestampMs: number;
  largestTimestampMs: number;
  firstStoreTimeMs: number;
  lastStoreTimeMs: number;
}

/** Closed parts that are told apart; beyond it neighbours are taken as one, which only makes them wait for the younger. */
export const maxClosedParts = 128;

/** The dirty entries of one partition, from its first dirty offset on, as parts of which the last one is active. */
export class LogParts {
  /** Entries before this were walked, or are clean. */
  walkedTo: number;
  private readonly closedParts: LogPart[] = [];
  private activePart: LogPart | undefined;

  constructor(firstDirtyOffset: number) {
    this.walkedTo = firstDirtyOffset;
  }

  get closed(): readonly LogPart[] {
    return this.closedParts;
  }

  get active(): LogPart | undefined {
    return this.activePart;
  }

  /** Where what must not be cleaned begins. */
  get activeOffset(): number {
    return this.activePart?.baseOffset ?? this.walkedTo;
  }

  get sizeBytes(): number {
    let sizeBytes = this.activePart?.sizeBytes ?? 0;
    for (const part of this.closedParts) sizeBytes += part.sizeBytes;
    return sizeBytes;
  }

  /** The next entry. */
  add(entry: EntryFacts, limits: PartLimits): void {
    // Nothing is younger than its place in the log, whatever time it carries: the far future would hold compaction up for ever.
    const timestampMs =
      entry.maxTimestampMs >= 0 ? Math.min(entry.maxTimestampMs, entry.storeTimeMs) : entry.storeTimeMs;
    const active = this.activePart;
    this.walkedTo = entry.baseOffset + entry.count;
    if (active === undefined || isFull(active, entry, timestampMs, limits)) {
      this.closeActive();
      this.activePart = {
        baseOffset: entry.baseOffset,
        endOffset: this.walkedTo,
        sizeBytes: entry.sizeBytes,
        records: entry.count,
        entries: 1,
        firstTimestampMs: timestampMs,
        largestTimestampMs: timestampMs,
        firstStoreTimeMs: entry.storeTimeMs,
        lastStoreTimeMs: entry.storeTimeMs,
      };
      return;
    }
    active.endOffset = this.walkedTo;
    active.sizeBytes += entry.sizeBytes;
    active.records += entry.count;
    active.entries++;
    active.largestTimestampMs = Math.max(active.largestTimestampMs, timestampMs);
    active.lastStoreTimeMs = entry.storeTimeMs;
  }

  /** Ends the active part where it is large enough as it is, or nothing came for segment.ms. */
  closeQuiet(nowMs: number, limits: PartLimits): void {
    const active = this.activePart;
    if (active === undefined) return;
    if (nowMs - active.lastStoreTimeMs > limits.segmentMs) this.closeActive();
  }

  /** Forgets what was cleaned. False where `offset` lies inside a part: then they must be walked anew. */
  cleanedTo(offset: number): boolean {
    while (this.closedParts.length > 0 && this.closedParts[0]!.endOffset <= offset) this.closedParts.shift();
    const first = this.closedParts[0] ?? this.activePart;
    return first === undefined ? offset >= this.walkedTo : first.baseOffset >= offset;
  }

  private closeActive(): void {
    if (this.activePart === undefined) return;
    this.closedParts.push(this.activePart);
    this.activePart = undefined;
    if (this.closedParts.length > maxClosedParts) this.joinNeighbours();
  }

  private joinNeighbours(): void {
    const joined: LogPart[] = [];
    for (let at = 0; at < this.closedParts.length; at += 2) {
      const part = this.closedParts[at]!;
      const next = this.closedParts[at + 1];
      if (next !== undefined) {
        part.endOffset = next.endOffset;
        part.sizeBytes += next.sizeBytes;
        part.records += next.records;
        part.entries += next.entries;
        part.firstTimestampMs = Math.min(part.firstTimestampMs, next.firstTimestampMs);
        part.largestTimestampMs = Math.max(part.largestTimestampMs, next.largestTimestampMs);
        part.lastStoreTimeMs = next.lastStoreTimeMs;
      }
      joined.push(part);
    }
    this.closedParts.splice(0, this.closedParts.length, ...joined);
  }
}

function isFull(part: LogPart, entry: EntryFacts, timestampMs: number, limits: PartLimits): boolean {
  return (
    part.sizeBytes + entry.sizeBytes > limits.segmentBytes ||
    part.entries >= (limits.maxEntries ?? Number.POSITIVE_INFINITY) ||
    timestampMs - part.firstTimestampMs > limits.segmentMs ||
    entry.storeTimeMs - part.firstStoreTimeMs > limits.segmentMs
  );
}
