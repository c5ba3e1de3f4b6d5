/**
 * Which part of a partition may be compacted now, and whether it is worth it: Kafka's LogCleanerManager (cleanableOffsets,
 * maxCompactionDelay, grabFilthiestCompactedLog) on parts in place of segments. Pure.
 */
import type { LogParts } from './log-parts.ts';

/** The settings of a topic that decide. */
export interface SelectionRules {
  readonly minCleanableDirtyRatio: number;
  readonly minCompactionLagMs: number;
  /** Infinity for none. */
  readonly maxCompactionLagMs: number;
}

export interface DirtyPartition {
  readonly firstDirtyOffset: number;
  readonly parts: LogParts;
  readonly lastStableOffset: number;
  /** Bytes of the whole partition. */
  readonly sizeBytes: number;
  /** When the next tombstone or marker that was cleaned before may go; undefined where there is none. */
  readonly deleteHorizonMs: number | undefined;
}

export interface Selection {
  /** Nothing from here on is touched. */
  readonly untilOffset: number;
  /** What may be cleaned, in relation to that and what is clean already: 0 to 1. */
  readonly dirtyRatio: number;
  readonly cleanableBytes: number;
  /** Records that may be cleaned, at most. */
  readonly cleanableRecords: number;
  /** By how much the oldest record that should have been compacted is late. */
  readonly delayMs: number;
  readonly isDue: boolean;
}

export function select(partition: DirtyPartition, rules: SelectionRules, nowMs: number): Selection {
  const { parts, firstDirtyOffset } = partition;
  let untilOffset = Math.min(parts.activeOffset, partition.lastStableOffset);
  if (rules.minCompactionLagMs > 0) {
    const young = parts.closed.find((part) => part.largestTimestampMs > nowMs - rules.minCompactionLagMs);
    if (young !== undefined) untilOffset = Math.min(untilOffset, young.baseOffset);
  }
  untilOffset = Math.max(untilOffset, firstDirtyOffset);
  let cleanableBytes = 0;
  let cleanableRecords = 0;
  let oldestMs = Number.POSITIVE_INFINITY;
  for (const part of parts.closed) {
    if (part.firstTimestampMs > 0) oldestMs = Math.min(oldestMs, part.firstTimestampMs);
    if (part.baseOffset >= untilOffset) continue;
    const share = Math.min(1, (untilOffset - part.baseOffset) / (part.endOffset - part.baseOffset));
    cleanableBytes += part.sizeBytes * share;
    cleanableRecords += Math.ceil(part.records * share);
  }
  const cleanBytes = Math.max(0, partition.sizeBytes - parts.sizeBytes);
  const dirtyRatio = cleanableBytes === 0 ? 0 : cleanableBytes / (cleanBytes + cleanableBytes);
  const delayMs = Math.max(0, nowMs - rules.maxCompactionLagMs - oldestMs) || 0;
  const holdsPastHorizon = (partition.deleteHorizonMs ?? Number.POSITIVE_INFINITY) <= nowMs && cleanBytes > 0;
  const isDue =
    (delayMs > 0 && cleanableBytes > 0) || dirtyRatio > rules.minCleanableDirtyRatio || holdsPastHorizon;
  return { untilOffset, dirtyRatio, cleanableBytes, cleanableRecords, delayMs, isDue };
}
