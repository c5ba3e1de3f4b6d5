/** The embedded engine's limits and times, each with its default. */
const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;

export interface EmbeddedSettings {
  /** A segment is closed before it would grow beyond this; a group that is larger gets a segment of its own. */
  readonly segmentBytes: number;
  /** Memory of one append slab. */
  readonly slabBytes: number;
  /** Slabs kept for readers of the log's tail after they are written. */
  readonly tailCacheBytes: number;
  /** Accepted and not yet written; beyond it `appendRoom` waits. */
  readonly maxUnwrittenBytes: number;
  /** At most this much goes to the file in one write. */
  readonly maxWriteBytes: number;
  /** Written and not durable: at this much a flush starts whether anybody waits or not. */
  readonly flushDirtyBytes: number;
  /** The longest that a written entry waits for its flush. */
  readonly flushIntervalMs: number;
  /** The disk was full: how long until the write is tried again. */
  readonly fullRetryMs: number;
  /** Kept on disk to be given back when it is full; 0: nothing is kept, and nothing refused early. See disk-space.ts. */
  readonly reserveBytes: number;
  /** Less than this free beside the reserve: data is refused. */
  readonly lowWaterBytes: number;
  /** Unit of disk reads and of the block cache. */
  readonly readBlockBytes: number;
  readonly blockCacheBytes: number;
  /** Blocks of index runs in memory. */
  readonly indexCacheBytes: number;
  /** One read answers at most this much from disk, whatever it asks for. */
  readonly maxDiskReadBytes: number;
  /** Thread-pool reads at a time, of both caches together. */
  readonly maxReadsAtOnce: number;
  /** The index table in memory is sealed to a run at so many entries ... */
  readonly sealEntries: number;
  /** ... or after so much log, whichever comes first. */
  readonly sealBytes: number;
  /** Sealed tables that wait for their run file; beyond it `appendRoom` waits. */
  readonly maxSealedTables: number;
  /** Neighbouring runs that are merged into one. */
  readonly mergeWidth: number;
  /** Pieces (runs of the head) kept before they are merged early. */
  readonly maxPieces: number;
  /** What the cleaner reads and writes in a second, together. */
  readonly cleanBytesPerSecond: number;
  /** Payloads that the cleaner holds at a time. */
  readonly cleanMemoryBytes: number;
  /** An extent is copied when at most this part of it counts ... */
  readonly cleanLiveShare: number;
  /** ... and at least so much is given back by it. */
  readonly cleanLeastBytes: number;
  /** What counts is looked over at most so often, and only when something died. */
  readonly cleanCheckIntervalMs: number;
  /** The cleaner closes the head early at most so many times an hour; see head-closes.ts ... */
  readonly headClosesPerHour: number;
  /** ... and so many at once, where none were needed before. */
  readonly savedHeadCloses: number;
  /** A cleaned segment of at least this size ends where a queue does. */
  readonly cleanedCutBytes: number;
}

export const defaultEmbeddedSettings: EmbeddedSettings = {
  segmentBytes: 256 * mebibyte,
  slabBytes: 4 * mebibyte,
  tailCacheBytes: 64 * mebibyte,
  maxUnwrittenBytes: 32 * mebibyte,
  maxWriteBytes: 8 * mebibyte,
  flushDirtyBytes: 8 * mebibyte,
  flushIntervalMs: 500,
  fullRetryMs: 1000,
  reserveBytes: 0,
  lowWaterBytes: 32 * mebibyte,
  readBlockBytes: 512 * kibibyte,
  blockCacheBytes: 32 * mebibyte,
  indexCacheBytes: 8 * mebibyte,
  maxDiskReadBytes: 8 * mebibyte,
  maxReadsAtOnce: 2,
  sealEntries: 256 * 1024,
  sealBytes: 64 * mebibyte,
  maxSealedTables: 4,
  mergeWidth: 8,
  maxPieces: 16,
  cleanBytesPerSecond: 64 * mebibyte,
  cleanMemoryBytes: 32 * mebibyte,
  cleanLiveShare: 0.5,
  cleanLeastBytes: mebibyte,
  cleanCheckIntervalMs: 30_000,
  headClosesPerHour: 12,
  savedHeadCloses: 1000,
  cleanedCutBytes: 16 * mebibyte,
};
