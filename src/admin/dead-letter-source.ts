/** Dead letters as the HTTP side asks about them: the service's answers in the words of dead-letter-admin.ts. */
import { isUtf8 } from 'node:buffer';
import type { FoundLetter } from '../services/features/dead-letters/dead-letter-reader.ts';
import {
  type DeadLetterRedrive,
  defaultMaxRedrives,
  defaultRate,
  largestRate,
  type RedriveRequest,
} from '../services/features/dead-letters/dead-letter-redrive.ts';
import type { RedriveJob, RedriveTarget } from '../services/features/dead-letters/redrive-job.ts';
import { placeText } from '../services/features/retry/retry-headers.ts';
import type { DeadLetterAdmin, DeadLetterView, RedriveAsked, RedriveView } from './dead-letter-admin.ts';

/** Bytes of a key or value that are shown. */
const shownBytes = 1_024;
const largestMaxRedrives = 1_000;

export function deadLetterSource(redrive: DeadLetterRedrive): DeadLetterAdmin {
  return {
    async list(group, filter, limit, next) {
      const page = await redrive.list(group, filter, limit, next);
      if (typeof page === 'string') return page;
      return { topic: page.topic, letters: page.letters.map(viewOf), next: page.next ?? null };
    },
    async preview(asked) {
      const request = requestOf(asked);
      return typeof request === 'string' ? request : redrive.dryRun(request);
    },
    async begin(asked) {
      const request = requestOf(asked);
      if (typeof request === 'string') return request;
      const job = await redrive.begin(request);
      return typeof job === 'string' ? job : jobView(job);
    },
    async jobs() {
      return (await redrive.jobs()).map(jobView);
    },
    async job(id) {
      const job = await redrive.job(id);
      return job && jobView(job);
    },
    async setState(id, state) {
      const job = await redrive.setState(id, state);
      return job && jobView(job);
    },
  };
}

function requestOf(asked: RedriveAsked): RedriveRequest | string {
  const { group, filter, only, rate = defaultRate, maxRedrives = defaultMaxRedrives } = asked;
  const to = targetOf(asked.to);
  if (to === undefined) return 'to is origin, retry or topic:NAME';
  if (!Number.isSafeInteger(rate) || rate < 1 || rate > largestRate)
    return `rate is 1 to ${largestRate} a second`;
  if (!Number.isSafeInteger(maxRedrives) || maxRedrives < 1 || maxRedrives > largestMaxRedrives) {
    return `maxRedrives is 1 to ${largestMaxRedrives}`;
  }
  return { group, to, filter, rate, maxRedrives, ...(only === undefined ? {} : { only }) };
}

function targetOf(text: string): RedriveTarget | undefined {
  if (text === 'origin' || text === 'retry') return text;
  const topic = text.startsWith('topic:') ? text.slice('topic:'.length) : '';
  return topic === '' ? undefined : { topic };
}

function viewOf({
  partition,
  offset,
  reason,
  atMs,
  deliveryCount,
  facts,
  isWhole,
  record,
}: FoundLetter): DeadLetterView {
  return {
    partition,
    offset,
    reason,
    at: atMs === undefined ? null : new Date(atMs).toISOString(),
    topic: facts.topic ?? null,
    origin: facts.origin === undefined ? null : placeText(facts.origin),
    deliveryCount: deliveryCount ?? null,
    redriveTimes: facts.redriveTimes,
    error: facts.error?.toString('utf8') ?? null,
    key: shownOf(record.key),
    value: shownOf(record.value),
    isWhole,
  };
}

function shownOf(bytes: Buffer | null): string | null {
  if (bytes === null) return null;
  const some = bytes.subarray(0, shownBytes);
  const more = bytes.length > shownBytes ? '...' : '';
  return isUtf8(bytes) ? some.toString('utf8') + more : `base64:${some.toString('base64')}${more}`;
}

function jobView(job: RedriveJob): RedriveView {
  const { id, group, topic, to, state, createdMs, endedMs, sent, skipped, next, until } = job;
  return {
    id,
    group,
    from: topic,
    to: typeof to === 'string' ? to : `topic:${to.topic}`,
    state,
    created: new Date(createdMs).toISOString(),
    ended: endedMs === undefined ? null : new Date(endedMs).toISOString(),
    sent,
    skipped,
    left: next.reduce((sum, at, index) => sum + Math.max(0, until[index]! - at), 0),
  };
}
