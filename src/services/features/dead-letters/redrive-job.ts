/**
 * A redrive of dead letters as a row of the ordered index. Each step of it is one append group: what is sent on, and the row that says how far
 * it came, under the condition that the row is as it was. So a job that is taken up again sends nothing twice and leaves nothing out.
 */
import type { IndexChange, IndexCondition } from '../../../storage/engine.ts';
import type { LetterFilter } from './dead-letter-reader.ts';

export const jobIndex = 'dead-letter-jobs';

/** origin: to the partition in which it failed first. retry: to the group's retry topic, for the group alone. */
export type RedriveTarget = 'origin' | 'retry' | { readonly topic: string };

export const skipReasons = ['filtered', 'loop-guard', 'target-gone', 'no-record', 'damaged'] as const;
export type SkipReason = (typeof skipReasons)[number];

export interface RedriveJob {
  readonly id: string;
  readonly group: string;
  /** Of the dead-letter topic. */
  readonly topicId: string;
  readonly topic: string;
  readonly to: RedriveTarget;
  readonly filter: LetterFilter;
  /** Records a second. */
  readonly rate: number;
  /** A letter that was sent on so often is left alone. */
  readonly maxRedrives: number;
  readonly createdMs: number;
  readonly state: 'running' | 'stopped' | 'done';
  readonly endedMs?: number;
  /** By partition: what is next, and where it ends: what came after the job was made is not part of it. */
  readonly next: readonly number[];
  readonly until: readonly number[];
  readonly sent: number;
  readonly skipped: Readonly<Partial<Record<SkipReason, number>>>;
}

const formatVersion = 1;

export function jobKey(id: string): Buffer {
  return Buffer.from(id);
}

export function encodeJob(job: RedriveJob): Buffer {
  return Buffer.from(JSON.stringify({ v: formatVersion, ...job }));
}

/** Throws a RangeError on bytes that this version did not write. */
export function decodeJob(value: Buffer): RedriveJob {
  const { v, ...job } = JSON.parse(value.toString()) as RedriveJob & { readonly v: number };
  if (v !== formatVersion) throw new RangeError(`a redrive of dead letters in an unknown format ${v}`);
  return job;
}

export function jobPut(job: RedriveJob): IndexChange {
  return { index: jobIndex, key: jobKey(job.id), value: encodeJob(job) };
}

export function jobHolds(job: RedriveJob): IndexCondition {
  return { index: jobIndex, key: jobKey(job.id), expected: encodeJob(job) };
}
