/** One partition under test: what was sent there (journal), how far it was read and judged, how far it was trimmed. */
import { type Checkpoint, PartitionChecker, type PartitionJournal } from './journal.ts';

const lostWindowsKept = 5000;
const checkpointsBeforeTrim = 3;

export interface PartitionOptions {
  readonly topic: string;
  readonly index: number;
  readonly acks: number;
  readonly journal: PartitionJournal;
  /** False: nobody deletes its records. */
  readonly isTrimmed: boolean;
}

export class PartitionUnderTest {
  readonly topic: string;
  readonly index: number;
  readonly acks: number;
  readonly journal: PartitionJournal;
  readonly isTrimmed: boolean;
  checker: PartitionChecker;
  /** Failures of checkers that are no more. */
  readonly failures: string[] = [];
  /** Milliseconds between the acknowledgement of the oldest lost batch and the power cut, cut by cut. */
  readonly lostWindowsMs: number[] = [];
  /** Batches of acks=all that were lost and acknowledged when the cut had begun. */
  lostAfterCut = 0;
  private checkpoints: Checkpoint[] = [{ offset: 0, nextNumbers: new Map() }];
  private trimAsked = 0;
  private trimAcked = 0;

  constructor({ topic, index, acks, journal, isTrimmed }: PartitionOptions) {
    this.topic = topic;
    this.index = index;
    this.acks = acks;
    this.journal = journal;
    this.isTrimmed = isTrimmed;
    this.checker = new PartitionChecker(journal);
  }

  get allFailures(): readonly string[] {
    return [...this.failures, ...this.checker.failures];
  }

  /** Everything up to the end was read, on a log that the start had recovered. */
  readToItsEnd(): void {
    const checkpoint = this.checker.checkpoint();
    if (checkpoint.offset > this.checkpoints.at(-1)!.offset) this.checkpoints.push(checkpoint);
  }

  /** The next reading begins at the log's start again. */
  readAgain(): void {
    this.failures.push(...this.checker.failures);
    const from = this.checkpoints.filter(({ offset }) => offset <= this.trimAsked).at(-1)!;
    this.checker = new PartitionChecker(this.journal, from);
  }

  /** An offset to delete the records before, or undefined: a place that was passed a while ago. */
  offsetToTrimTo(random: () => number): number | undefined {
    const last = this.checkpoints.length - 1 - checkpointsBeforeTrim;
    if (!this.isTrimmed || last <= 0) return undefined;
    const { offset } = this.checkpoints[1 + Math.floor(random() * last)]!;
    this.trimAsked = Math.max(this.trimAsked, offset);
    return offset;
  }

  trimmed(offset: number): void {
    if (offset > this.trimAcked) this.trimAcked = offset;
    const from = this.checkpoints.findLastIndex((checkpoint) => checkpoint.offset <= this.trimAcked);
    this.checkpoints = this.checkpoints.slice(from);
    this.journal.forgetBefore(this.checkpoints[0]!);
  }

  /** Where the broker says that the log begins. */
  seeStart(offset: number): void {
    if (offset < this.trimAcked || offset > this.trimAsked) {
      this.failures.push(
        `${this.journal.name} begins at ${offset}; ${this.trimAcked} was acknowledged and ${this.trimAsked} asked for`,
      );
    }
  }

  /**
   * The power was cut at `cutMs`, and the log was read to its end: whatever was acknowledged before `durableBeforeMs` (infinite: ever) must
   * have come by, and what is lost must be the end of the log. Answers where each producer goes on that lost something acknowledged.
   */
  endAfterCut(cutMs: number, durableBeforeMs: number): ReadonlyMap<string, number> {
    const { journal, checker } = this;
    const { offset: end, nextNumbers } = checker.checkpoint();
    const rewinds = new Map<string, number>();
    let oldestMs = cutMs;
    for (const producer of journal.producers()) {
      const next = nextNumbers.get(producer) ?? 0;
      const due = journal.ackedUntilBefore(producer, durableBeforeMs);
      if (next < due) {
        const aheadMs = (cutMs - durableBeforeMs).toFixed(0);
        const when = Number.isFinite(durableBeforeMs) ? ` ${aheadMs} ms and more before the power cut` : '';
        this.failures.push(
          `${journal.name}: records ${next} to ${due - 1} of ${producer} were acknowledged${when} and are lost`,
        );
      }
      for (const lost of journal.ackedFrom(producer, next)) {
        if (lost.baseOffset !== undefined && lost.baseOffset < end) {
          this.failures.push(
            `${journal.name}: record ${lost.firstNumber} of ${producer}, acknowledged at ${lost.baseOffset}, is lost, though the log goes on to ${end}`,
          );
        }
        if (lost.atMs === undefined) continue;
        oldestMs = Math.min(oldestMs, lost.atMs);
        if (this.acks === -1 && lost.atMs >= cutMs) this.lostAfterCut++;
        rewinds.set(producer, next);
      }
      if (rewinds.has(producer)) journal.rewind(producer, next);
    }
    if (oldestMs < cutMs && this.lostWindowsMs.length < lostWindowsKept)
      this.lostWindowsMs.push(cutMs - oldestMs);
    return rewinds;
  }
}
