/** The limits of a coordinator runtime. Broker config has no keys for them yet; tests set their own. */
export interface CoordinatorLimits {
  /** Requests that wait while one partition is read, or while the topic is made; one more is answered COORDINATOR_LOAD_IN_PROGRESS. */
  readonly maxWaitingCommands: number;
  /** How long requests wait for a partition to be read before they, and those that follow, are answered COORDINATOR_LOAD_IN_PROGRESS. */
  readonly loadWaitMs: number;
  /** Bytes asked of the engine at once while a partition is read. */
  readonly loadReadBytes: number;
  /** A batch of state is closed when it has this size; a record alone may be larger. */
  readonly maxBatchBytes: number;
  /** Bytes of a partition's state that wait for room in the engine; beyond it commands are answered COORDINATOR_NOT_AVAILABLE. */
  readonly maxUnwrittenBytes: number;
  /** No snapshot is written before a partition's log has this size ... */
  readonly snapshotLogBytes: number;
  /** ... or so many entries: they lie apart in the log of all partitions, and each costs a read of its own at the next start. */
  readonly snapshotLogEntries: number;
  /** ... and as many times the size of the last snapshot. */
  readonly snapshotGrowth: number;
  /** Snapshot bytes that are in flight at once: live commands come between. */
  readonly snapshotChunkBytes: number;
}

export const defaultCoordinatorLimits: CoordinatorLimits = {
  maxWaitingCommands: 10_000,
  loadWaitMs: 2_000,
  loadReadBytes: 1024 * 1024,
  maxBatchBytes: 1024 * 1024,
  maxUnwrittenBytes: 32 * 1024 * 1024,
  snapshotLogBytes: 1024 * 1024,
  snapshotLogEntries: 1_000,
  snapshotGrowth: 4,
  snapshotChunkBytes: 256 * 1024,
};
