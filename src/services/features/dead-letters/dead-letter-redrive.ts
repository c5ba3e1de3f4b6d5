/**
 * Dead letters for operators: looked at, and sent on by jobs: some or all of a group's, to where they came from or elsewhere, so many a
 * second. Jobs go on after a restart. Each start and end is one line in the log, for who asks later what was done.
 */
import { randomUUID } from 'node:crypto';
import type { AppendEntry, StorageEngine } from '../../../storage/engine.ts';
import type { Clock, Timer as ClockTimer } from '../../../util/clock.ts';
import type { Log } from '../../../util/log.ts';
import type { Topic, TopicDirectory } from '../../topics/topic.ts';
import { FailedRecords } from '../retry/failed-records.ts';
import { type FoundLetter, type LetterFilter, passes, readLetters } from './dead-letter-reader.ts';
import type { DeadLetterWriter } from './dead-letter-writer.ts';
import {
  decodeJob,
  jobHolds,
  jobIndex,
  jobKey,
  jobPut,
  type RedriveJob,
  type RedriveTarget,
  type SkipReason,
} from './redrive-job.ts';
import { type RedriveTopics, redrivenEntry, takes } from './redriven-entry.ts';

export interface DeadLetterRedriveOptions extends RedriveTopics {
  readonly engine: StorageEngine;
  readonly topics: Pick<TopicDirectory, 'get' | 'byId'>;
  readonly deadLetters: Pick<DeadLetterWriter, 'find'>;
  readonly clock: Clock;
  readonly log: Log;
}

export interface RedriveRequest {
  readonly group: string;
  readonly to: RedriveTarget;
  readonly filter: LetterFilter;
  /** One letter; all where it is left out. */
  readonly only?: { readonly partition: number; readonly offset: number };
  readonly rate: number;
  readonly maxRedrives: number;
}

/** What a job would do. */
export interface DryRun {
  readonly sent: number;
  readonly skipped: Readonly<Partial<Record<SkipReason, number>>>;
  /** By topic. */
  readonly targets: Readonly<Record<string, number>>;
  /** Not everything was looked at: it is more than one dry run reads. */
  readonly isPartial: boolean;
}

export interface LetterPage {
  readonly topic: string;
  readonly letters: readonly FoundLetter[];
  /** Asks for the next page. */
  readonly next: string | undefined;
}

export const defaultRate = 100;
export const largestRate = 100_000;
export const defaultMaxRedrives = 3;
/** Jobs that are not done, and jobs that are remembered; the oldest that are done are forgotten first. */
export const maxJobs = 20;
const maxJobsKept = 200;
/** Letters sent on in one append group, and the bytes of it. */
const lettersAtOnce = 200;
const bytesAtOnce = 2 * 1024 * 1024;
/** Letters that one dry run or one page looks at. */
const mostLooked = 100_000;
const retryMs = 1_000;

export class DeadLetterRedrive {
  private readonly options: DeadLetterRedriveOptions;
  private readonly alarms = new Map<string, ClockTimer>();
  private readonly steps = new Set<Promise<void>>();
  private closed = false;
  /** Letters sent on since the start. */
  redriven = 0;

  constructor(options: DeadLetterRedriveOptions) {
    this.options = options;
  }

  /** Takes up the jobs that were not done. */
  async start(): Promise<void> {
    for (const job of await this.jobs()) if (job.state === 'running') this.arm(job, 0);
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const alarm of this.alarms.values()) alarm.cancel();
    await Promise.all(this.steps);
  }

  /** A page of letters that pass; a text where there are none to look at. */
  async list(
    group: string,
    filter: LetterFilter,
    limit: number,
    next: string | undefined,
  ): Promise<LetterPage | string> {
    const topic = this.topicOf(group);
    if (typeof topic === 'string') return topic;
    const from = next === undefined ? [0, 0] : next.split(':').map(Number);
    const [partition = Number.NaN, offset = Number.NaN] = from;
    if (!Number.isSafeInteger(partition) || !Number.isSafeInteger(offset))
      return 'next is not what a page gave';
    const letters: FoundLetter[] = [];
    let looked = 0;
    for (let index = partition; index < topic.partitions.length; index++) {
      const bounds = await this.options.engine.bounds(topic.partitions[index]!.queue);
      const end = bounds?.visibleEndOffset ?? 0;
      let at = Math.max(index === partition ? offset : 0, bounds?.startOffset ?? 0);
      while (at < end) {
        const read = await readLetters(this.options.engine, topic, index, at, end);
        for (const letter of read.letters) {
          looked += 1;
          if (!passes(letter, filter)) continue;
          if (letters.length === limit)
            return { topic: topic.name, letters, next: `${index}:${letter.offset}` };
          letters.push(letter);
        }
        at = read.nextOffset;
        if (looked >= mostLooked) return { topic: topic.name, letters, next: `${index}:${at}` };
      }
    }
    return { topic: topic.name, letters, next: undefined };
  }

  /** What the request would do, with nothing done. A text: why it may not be. */
  async dryRun(request: RedriveRequest): Promise<DryRun | string> {
    const made = await this.make(request);
    if (typeof made === 'string') return made;
    const topic = this.options.topics.byId(made.topicId)!;
    const targets: Record<string, number> = {};
    const skipped: Partial<Record<SkipReason, number>> = {};
    let sent = 0;
    let looked = 0;
    const next = [...made.next];
    for (let index = 0; index < next.length; index++) {
      while (next[index]! < made.until[index]!) {
        if (looked >= mostLooked) return { sent, skipped, targets, isPartial: true };
        const read = await readLetters(this.options.engine, topic, index, next[index]!, made.until[index]!);
        if (read.damaged > 0) skipped.damaged = (skipped.damaged ?? 0) + read.damaged;
        const loader = new FailedRecords(this.options.engine);
        for (const letter of read.letters) {
          looked += 1;
          const result = await this.entryOf(letter, made, loader);
          if ('skip' in result) skipped[result.skip] = (skipped[result.skip] ?? 0) + 1;
          else {
            sent += 1;
            targets[result.topic] = (targets[result.topic] ?? 0) + 1;
          }
        }
        next[index] = read.nextOffset;
      }
    }
    return { sent, skipped, targets, isPartial: false };
  }

  /** Begins a job, durably. A text: why not. */
  async begin(request: RedriveRequest): Promise<RedriveJob | string> {
    const job = await this.make(request);
    if (typeof job === 'string') return job;
    const known = await this.jobs();
    if (known.filter(({ state }) => state !== 'done').length >= maxJobs) {
      return `There are ${maxJobs} redrives that are not done; wait, or stop one`;
    }
    const forgotten = known
      .filter(({ state }) => state === 'done')
      .sort((a, b) => a.createdMs - b.createdMs)
      .slice(0, Math.max(0, known.length + 1 - maxJobsKept))
      .map(({ id }) => ({ index: jobIndex, key: jobKey(id), value: null }));
    const [result] = await this.options.engine.append({
      durability: 'sync',
      entries: [],
      changes: [jobPut(job), ...forgotten],
    });
    if (result?.outcome !== 'appended') return 'The redrive could not be noted now; try again';
    this.audit(job, 'a redrive of dead letters began');
    this.arm(job, 0);
    return job;
  }

  async jobs(): Promise<readonly RedriveJob[]> {
    const rows = await this.options.engine.index(jobIndex).range({ limit: maxJobsKept + maxJobs });
    return rows.map(({ value }) => decodeJob(value)).sort((a, b) => a.createdMs - b.createdMs);
  }

  async job(id: string): Promise<RedriveJob | undefined> {
    const value = await this.options.engine.index(jobIndex).get(jobKey(id));
    return value === undefined ? undefined : decodeJob(value);
  }

  /** Undefined: there is no such job that is not done. */
  async setState(id: string, state: 'running' | 'stopped'): Promise<RedriveJob | undefined> {
    for (;;) {
      const job = await this.job(id);
      if (job === undefined || job.state === 'done') return undefined;
      if (job.state === state) return job;
      const next = { ...job, state };
      if (!(await this.put(job, next, []))) continue;
      this.audit(
        next,
        state === 'stopped' ? 'a redrive of dead letters was stopped' : 'a redrive of dead letters goes on',
      );
      this.alarms.get(id)?.cancel();
      this.alarms.delete(id);
      if (state === 'running') this.arm(next, 0);
      return next;
    }
  }

  private topicOf(group: string): Topic | string {
    const target = this.options.deadLetters.find(group);
    if (target === undefined || target === 'none') return `Group ${group} has no dead-letter topic`;
    return 'trouble' in target ? target.trouble : target.topic;
  }

  private async make({
    group,
    to,
    filter,
    only,
    rate,
    maxRedrives,
  }: RedriveRequest): Promise<RedriveJob | string> {
    const topic = this.topicOf(group);
    if (typeof topic === 'string') return topic;
    const { engine, topics, retryOf, clock } = this.options;
    const name = to === 'retry' ? retryOf(group).topic : to === 'origin' ? undefined : to.topic;
    if (name !== undefined) {
      const target = topics.get(name);
      if (target === undefined) return `There is no topic ${name}`;
      if (target.isInternal || !takes(target, to)) return `Dead letters cannot be sent on to ${name}`;
    }
    const next: number[] = [];
    const until: number[] = [];
    for (const { queue, index } of topic.partitions) {
      const bounds = await engine.bounds(queue);
      const start = bounds?.startOffset ?? 0;
      const end = bounds?.visibleEndOffset ?? 0;
      if (only === undefined) {
        next.push(start);
        until.push(end);
        continue;
      }
      const isIt = only.partition === index;
      if (isIt && (only.offset < start || only.offset >= end)) {
        return `${topic.name}-${index} has no offset ${only.offset}`;
      }
      next.push(isIt ? only.offset : end);
      until.push(isIt ? only.offset + 1 : end);
    }
    if (only !== undefined && only.partition >= topic.partitions.length) {
      return `There is no ${topic.name}-${only.partition}`;
    }
    return {
      id: randomUUID(),
      group,
      topicId: topic.id,
      topic: topic.name,
      to,
      filter,
      rate,
      maxRedrives,
      createdMs: clock.nowMs(),
      state: 'running',
      next,
      until,
      sent: 0,
      skipped: {},
    };
  }

  private async entryOf(letter: FoundLetter, job: RedriveJob, loader: FailedRecords) {
    if (!passes(letter, job.filter)) return { skip: 'filtered' } as const;
    return redrivenEntry(letter, job, this.options, loader, this.options.clock.nowMs());
  }

  private arm(job: RedriveJob, waitMs: number): void {
    if (this.closed) return;
    const alarm = this.options.clock.after(waitMs, () => {
      const step = this.step(job.id)
        .catch((error: unknown) => {
          if (this.closed) return;
          this.options.log.warn({ job: job.id, error }, 'a redrive of dead letters waits; it is tried again');
          this.arm(job, retryMs);
        })
        .finally(() => this.steps.delete(step));
      this.steps.add(step);
    });
    this.alarms.set(job.id, alarm);
  }

  private async step(id: string): Promise<void> {
    const job = await this.job(id);
    if (job?.state !== 'running' || this.closed) return;
    const { engine, topics, clock } = this.options;
    const topic = topics.byId(job.topicId);
    const index = job.next.findIndex((next, at) => next < job.until[at]!);
    if (topic === undefined || index < 0) {
      const done: RedriveJob = { ...job, state: 'done', endedMs: clock.nowMs() };
      if (!(await this.put(job, done, []))) return this.arm(job, retryMs);
      this.alarms.delete(id);
      this.audit(done, 'a redrive of dead letters ended');
      return;
    }
    const read = await readLetters(engine, topic, index, job.next[index]!, job.until[index]!);
    const skipped: Partial<Record<SkipReason, number>> = { ...job.skipped };
    const skip = (reason: SkipReason, count = 1): void => {
      skipped[reason] = (skipped[reason] ?? 0) + count;
    };
    if (read.damaged > 0) skip('damaged', read.damaged);
    const loader = new FailedRecords(engine);
    const entries: AppendEntry[] = [];
    let bytes = 0;
    let nextOffset = read.nextOffset;
    const atOnce = Math.max(1, Math.min(lettersAtOnce, Math.floor(job.rate / 4)));
    for (const letter of read.letters) {
      if (entries.length >= atOnce || bytes >= bytesAtOnce) {
        nextOffset = letter.offset;
        break;
      }
      const result = await this.entryOf(letter, job, loader);
      if ('skip' in result) skip(result.skip);
      else {
        entries.push(result.entry);
        bytes += letter.sizeBytes;
      }
    }
    const next = job.next.with(index, nextOffset);
    const after: RedriveJob = { ...job, next, skipped, sent: job.sent + entries.length };
    if (!(await this.put(job, after, entries))) return this.arm(job, retryMs);
    this.redriven += entries.length;
    this.arm(after, Math.ceil((entries.length * 1_000) / job.rate));
  }

  /** False where it was changed meanwhile, or cannot be now. */
  private async put(
    before: RedriveJob,
    after: RedriveJob,
    entries: readonly AppendEntry[],
  ): Promise<boolean> {
    const results = await this.options.engine.append({
      durability: 'sync',
      entries,
      changes: [jobPut(after)],
      conditions: [jobHolds(before)],
    });
    return results.every(({ outcome }) => outcome === 'appended');
  }

  private audit(job: RedriveJob, message: string): void {
    const { id, group, topic, to, filter, rate, maxRedrives, state, sent, skipped } = job;
    this.options.log.info(
      { audit: 'dead-letters', job: id, group, topic, to, filter, rate, maxRedrives, state, sent, skipped },
      message,
    );
  }
}
