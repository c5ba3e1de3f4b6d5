/**
 * Retry topics: whose they are, and how they come to be. Turning retries on for a group makes its topics or takes over empty ones; a
 * topic with records that is no retry topic is somebody's and stays as it is.
 */
import { errorCodes } from '../../../../protocol/error-codes.ts';
import type { StorageEngine } from '../../../storage/engine.ts';
import type { Log } from '../../../util/log.ts';
import type { Topic } from '../../topics/topic.ts';
import type { DeadLetterWriter } from '../dead-letters/dead-letter-writer.ts';
import { deadLetterTopicKey } from '../dead-letters/dead-letter-writer.ts';
import { type FeatureTopics, isEmptyTopic } from '../feature-topic-maker.ts';
import {
  type GroupValues,
  groupOfDeadLetterTopic,
  groupOfRetryTopic,
  isRetryEnabled,
  retryPrefix,
  retryTopicOf,
} from './retry-settings.ts';

export const retryRole = 'retry';
export const retryGroupKey = 'rmq.retry.group';

/** One partition of the retry topic for so many of what the group reads (RocketMQ has one queue a topic). */
const sourcePartitionsEach = 4;
/** Topics of which it was said that their name means nothing; beyond it no more are told of. */
const maxTold = 1_000;

export interface RetryTopicsOptions {
  readonly engine: StorageEngine;
  readonly topics: FeatureTopics;
  readonly groupConfigs: GroupValues;
  readonly deadLetters: Pick<DeadLetterWriter, 'resolve'>;
  /** The topics that members of the group read now. */
  readonly topicsRead: (group: string) => Promise<readonly string[]>;
  readonly log: Log;
}

/** The group whose retries the topic carries; undefined where it is no retry topic. */
export function retryGroupOf({ name, settings }: Topic): string | undefined {
  if (settings.role !== retryRole) return undefined;
  if (settings.retryGroup !== '') return settings.retryGroup;
  return name.startsWith(retryPrefix) ? name.slice(retryPrefix.length) : undefined;
}

const noSettings: ReadonlyMap<string, string> = new Map();

export class RetryTopics {
  private readonly options: RetryTopicsOptions;
  private readonly told = new Set<string>();

  constructor(options: RetryTopicsOptions) {
    this.options = options;
  }

  /** What a new topic of this name is set to: names of groups that have retries on stand for something. */
  settingsByName(name: string): ReadonlyMap<string, string> {
    const { groupConfigs, log } = this.options;
    const group = groupOfRetryTopic(groupConfigs, name);
    if (group !== undefined) {
      return new Map([
        ['rmq.role', retryRole],
        [retryGroupKey, group],
      ]);
    }
    if (groupOfDeadLetterTopic(groupConfigs, name) !== undefined)
      return new Map([[deadLetterTopicKey, 'true']]);
    if (name.startsWith(retryPrefix) && !this.told.has(name) && this.told.size < maxTold) {
      this.told.add(name);
      log.warn(
        { topic: name },
        'the topic is made as a plain one: no group of that name has rmq.retry.enable',
      );
    }
    return noSettings;
  }

  /**
   * Makes the group's topics as `values` say it (those in force, or that are about to be). Resolves with why they cannot be, or undefined.
   * `checkOnly`: nothing is made.
   */
  async ensure(group: string, values: GroupValues, checkOnly: boolean): Promise<string | undefined> {
    const trouble = await this.ensureRetryTopic(group, retryTopicOf(values, group), checkOnly);
    if (trouble !== undefined || checkOnly) return trouble;
    const target = await this.options.deadLetters.resolve(group, values);
    return target !== 'none' && 'trouble' in target ? target.trouble : undefined;
  }

  /** What a change of the group's settings asks of its topics; see `ensure`. */
  async beforeChange(
    group: string,
    before: GroupValues,
    after: GroupValues,
    checkOnly: boolean,
  ): Promise<string | undefined> {
    if (!isRetryEnabled(after, group)) return undefined;
    const isSame = (name: string): boolean => before.value(group, name) === after.value(group, name);
    const names = ['rmq.retry.enable', 'rmq.retry.topic', 'errors.deadletterqueue.topic.name'];
    return names.every(isSame) ? undefined : this.ensure(group, after, checkOnly);
  }

  private async ensureRetryTopic(
    group: string,
    name: string,
    checkOnly: boolean,
  ): Promise<string | undefined> {
    const { topics, engine } = this.options;
    const present = topics.get(name);
    const own = new Map([
      ['rmq.role', retryRole],
      [retryGroupKey, group],
    ]);
    if (present === undefined) {
      const partitions = await this.partitionsFor(group);
      const request = { name, partitions, replicationFactor: -1, assignments: [], overrides: own };
      const [outcome] = await topics.create([request], checkOnly);
      if (outcome === undefined || !('error' in outcome)) return undefined;
      if (outcome.error.code !== errorCodes.TOPIC_ALREADY_EXISTS) {
        return outcome.error.message ?? `Topic ${name} could not be made`;
      }
      const now = topics.get(name);
      return now !== undefined && retryGroupOf(now) === group ? undefined : isOthers(name);
    }
    const owner = retryGroupOf(present);
    if (owner === group) return undefined;
    if (owner !== undefined) return `Topic ${name} has the retries of group ${owner} (${retryGroupKey})`;
    if (present.isInternal || present.settings.role !== 'plain' || !(await isEmptyTopic(engine, present))) {
      return isOthers(name);
    }
    const outcome = await topics.alterOverrides(name, (current) => new Map([...current, ...own]), checkOnly);
    return 'error' in outcome ? (outcome.error.message ?? isOthers(name)) : undefined;
  }

  /** By what the group reads now; -1, the broker's default, where that is not known. */
  private async partitionsFor(group: string): Promise<number> {
    const read = new Set(await this.options.topicsRead(group));
    let count = 0;
    for (const name of read) {
      const topic = this.options.topics.get(name);
      if (topic !== undefined && retryGroupOf(topic) === undefined) count += topic.partitions.length;
    }
    return count === 0 ? -1 : Math.ceil(count / sourcePartitionsEach);
  }
}

function isOthers(name: string): string {
  return `Topic ${name} exists and is no empty retry topic (rmq.role=${retryRole}, ${retryGroupKey}); rmq.retry.topic names another`;
}
