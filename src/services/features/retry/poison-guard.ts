/**
 * The poison-pill guard: a classic group whose new generations resume from the same committed offset again and again does not get past the
 * record there. It is taken out of the group's way: the committed offset moves past it, and the record goes to the group's retries or
 * dead letters, in one append group. No fetch says for which group it is, so resumes are what can be counted. Limits: a group that
 * never committed there, one that goes back by itself without a new generation, and one that commits whole batches, of which the first
 * record is not the one that fails, is only helped record by record, or not at all. Counts are in memory.
 */
import { openBatch } from '../../../../protocol/records/batch-records.ts';
import { batchIsControl, batchSizeBytes } from '../../../../protocol/records/record-batch.ts';
import { RecordError } from '../../../../protocol/records/record-error.ts';
import { safeIntegerOrUndefined } from '../../../../protocol/wire/int64.ts';
import type { StorageEngine } from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import type { Log } from '../../../util/log.ts';
import { appendTogether, type ClosedGroup } from '../../coordinator/joint-append.ts';
import type { Topic, TopicDirectory } from '../../topics/topic.ts';
import { ResumeCounts } from './resume-counts.ts';
import { maxRetryBatchBytes } from './retry-batch.ts';
import type { RetryPlan, RetryPlanner } from './retry-planner.ts';
import { type GroupValues, guardSettingsOf, isRetryEnabled, retrySettingsOf } from './retry-settings.ts';
import { retryGroupOf } from './retry-topics.ts';

/** A group's committed offset of a partition. */
export interface CommittedPlace {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

/** What the guard asks of the groups' coordinator. */
export interface GuardedGroups {
  /** All that the group has committed. */
  committed(group: string): Promise<readonly CommittedPlace[]>;
  /** The topics that members of the group read now. */
  topicsRead(group: string): Promise<readonly string[]>;
  /**
   * Says in the group's partition that `to` is committed there, for the caller to append in this turn; undefined where `from` is not what
   * is committed any more, or cannot be known now.
   */
  moveOffset(group: string, from: CommittedPlace, topicId: string, to: number): ClosedGroup | undefined;
}

export interface PoisonGuardOptions {
  readonly engine: StorageEngine;
  readonly clock: Clock;
  readonly log: Log;
  readonly topics: Pick<TopicDirectory, 'get'>;
  readonly groupConfigs: GroupValues;
  readonly planner: RetryPlanner;
  readonly groups: GuardedGroups;
  /** What was planned stands in the log. */
  readonly done: (plan: RetryPlan) => void;
}

/** Members do not wait longer for their assignment, whatever becomes of the look. */
const longestLookMs = 5_000;
/** Partitions of one group that are looked at for one generation. */
const maxLooked = 10_000;
/** Generations of which is known that they were looked at. */
const maxGenerations = 10_000;

export class PoisonGuard {
  private readonly options: PoisonGuardOptions;
  private readonly counts = new ResumeCounts();
  /** By group: the newest generation that was looked at, or is. */
  private readonly looks = new Map<string, { readonly generation: number; readonly look: Promise<void> }>();
  /** Records taken out of a group's way. */
  moved = 0;

  constructor(options: PoisonGuardOptions) {
    this.options = options;
  }

  guards(group: string): boolean {
    return guardSettingsOf(this.options.groupConfigs, group).resumes > 0;
  }

  /** A generation of the group begins: resolves when its members may read. */
  begins(group: string, generation: number): Promise<void> {
    const known = this.looks.get(group);
    if (known !== undefined && known.generation >= generation) return known.look;
    const { clock, log } = this.options;
    const look = this.look(group).catch((error: unknown) =>
      log.warn({ group, error }, 'the poison-pill guard could not look'),
    );
    const limit = new Promise<void>((resolve) => {
      const alarm = clock.after(longestLookMs, resolve);
      void look.then(() => alarm.cancel());
    });
    const either = Promise.race([look, limit]);
    this.looks.delete(group);
    this.looks.set(group, { generation, look: either });
    if (this.looks.size > maxGenerations) this.looks.delete(this.looks.keys().next().value!);
    return either;
  }

  private async look(group: string): Promise<void> {
    const { groups, topics, clock, groupConfigs } = this.options;
    const { resumes, intervalMs } = guardSettingsOf(groupConfigs, group);
    const read = new Set(await groups.topicsRead(group));
    const committed = (await groups.committed(group)).filter(({ topic }) => read.has(topic));
    for (const place of committed.slice(0, maxLooked)) {
      const topic = topics.get(place.topic);
      const queue = topic?.partitions[place.partition]?.queue;
      if (topic === undefined || queue === undefined || place.offset < 0) continue;
      const bounds = await this.options.engine.bounds(queue);
      const resume = { topicId: topic.id, partition: place.partition, offset: place.offset };
      // Nothing to read: nothing that it could not pass.
      if (bounds === undefined || place.offset >= bounds.visibleEndOffset) {
        this.counts.forget(group, resume);
        continue;
      }
      const times = this.counts.resumed(group, resume, clock.nowMs(), intervalMs);
      if (times < resumes) continue;
      if (await this.takeOut(group, place, topic, read, times)) this.counts.forget(group, resume);
    }
  }

  private async takeOut(
    group: string,
    place: CommittedPlace,
    topic: Topic,
    read: ReadonlySet<string>,
    times: number,
  ): Promise<boolean> {
    const { engine, groups, groupConfigs, topics, planner, log } = this.options;
    const offset = await this.firstRecord(topic, place);
    if (offset === undefined) return false;
    const settings = { ...retrySettingsOf(groupConfigs, group), dedupMs: 0, isPoison: true };
    const retryTopic = topics.get(settings.topic);
    const canRetry =
      isRetryEnabled(groupConfigs, group) &&
      retryTopic !== undefined &&
      retryGroupOf(retryTopic) === group &&
      read.has(settings.topic);
    const poison = { topic: place.topic, partition: place.partition, offset };
    const plan = await planner.plan({
      group,
      settings,
      // Where a dead letter is made at once the retry topic is not asked for.
      topic: canRetry ? retryTopic : topic,
      partition: canRetry ? retryTopic.partitions[0]! : topic.partitions[place.partition]!,
      nacks: [
        {
          index: 0,
          failed: { place: poison },
          action: canRetry ? 'retry' : 'dlq',
          delayMs: undefined,
          error: Buffer.from(`the group resumed ${times} times from this record without passing it`),
          times: undefined,
        },
      ],
      isDecided: true,
    });
    if (!('entries' in plan) || plan.entries.length === 0) {
      const trouble = 'trouble' in plan ? plan.trouble : undefined;
      log.error({ group, ...poison, trouble }, 'a poisoned record stays in the way of its group');
      return false;
    }
    const moved = groups.moveOffset(group, place, topic.id, offset + 1);
    // It got past it meanwhile.
    if (moved === undefined) return true;
    const results = await new Promise<readonly { readonly outcome: string }[]>((resolve) =>
      appendTogether(engine, plan.entries, plan.changes, [moved], (outcomes) => {
        if (outcomes.every(({ outcome }) => outcome === 'appended')) planner.appended(plan, outcomes);
        resolve(outcomes);
      }),
    );
    if (!results.every(({ outcome }) => outcome === 'appended')) return false;
    this.moved += 1;
    this.options.done(plan);
    log.warn(
      { group, ...poison, resumes: times, to: canRetry ? settings.topic : 'dead letters' },
      'a poisoned record was taken out of the way of its group',
    );
    return true;
  }

  /** The offset of the first record that is read from there: not a marker, and not a gap. */
  private async firstRecord(
    topic: Topic,
    { partition, offset }: CommittedPlace,
  ): Promise<number | undefined> {
    const { queue } = topic.partitions[partition]!;
    const read = await this.options.engine.read(queue, { fromOffset: offset, maxBytes: 0, atLeastOne: true });
    // What cannot be read at all is not for the guard to step over.
    if (read.outcome !== 'read') return undefined;
    const bytes = Buffer.concat(read.payloads);
    read.release();
    try {
      for (let at = 0; at < bytes.length; at += batchSizeBytes(bytes, at)) {
        if (batchIsControl(bytes, at)) continue;
        const cursor = openBatch(bytes, at, { limitBytes: maxRetryBatchBytes });
        while (cursor.next()) {
          const found = safeIntegerOrUndefined(cursor.offset);
          if (found !== undefined && found >= offset) return found;
        }
      }
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
    }
    return undefined;
  }
}
