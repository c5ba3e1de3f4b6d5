/** How often groups resumed from the same offset, of the partitions that had something to read. Pure: a clock's time comes in. */

export interface Resume {
  readonly topicId: string;
  readonly partition: number;
  /** Committed: what is read first. */
  readonly offset: number;
}

interface Counted {
  offset: number;
  times: number;
  atMs: number;
}

/** Partitions of which is remembered where their groups resumed; beyond it the one that was counted longest ago is forgotten. */
export const maxCounted = 100_000;

export class ResumeCounts {
  private readonly counted = new Map<string, Counted>();

  get size(): number {
    return this.counted.size;
  }

  /** The group resumes there now: how often in a row it did, this time too. Resumes closer than `intervalMs` are one. */
  resumed(group: string, { topicId, partition, offset }: Resume, nowMs: number, intervalMs: number): number {
    const key = `${topicId}/${partition}/${group}`;
    const before = this.counted.get(key);
    if (before?.offset === offset) {
      if (nowMs - before.atMs < intervalMs) return before.times;
      this.counted.delete(key);
      this.counted.set(key, { offset, times: before.times + 1, atMs: nowMs });
      return before.times + 1;
    }
    this.counted.delete(key);
    this.counted.set(key, { offset, times: 1, atMs: nowMs });
    if (this.counted.size > maxCounted) {
      const [oldest] = this.counted.keys();
      this.counted.delete(oldest!);
    }
    return 1;
  }

  forget(group: string, { topicId, partition }: Omit<Resume, 'offset'>): void {
    this.counted.delete(`${topicId}/${partition}/${group}`);
  }
}
