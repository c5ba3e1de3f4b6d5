/** The topics of a producer group: where it is asked, where it answers, and where what nobody decided ends up. */
import { errorCodes } from '../../../../protocol/error-codes.ts';
import type { Topic } from '../../topics/topic.ts';
import type { NewTopic, TopicOutcome } from '../../topics/topic-catalogue.ts';
import { checkTopicOf, discardTopicOf, operationPrefix, operationTopicOf } from './half-topic-names.ts';

/** rmq.role of operation topics, and the setting that says whose they are. */
export const operationRole = 'txn-op';
export const producerGroupKey = 'rmq.producer.group';

/** Checks that nobody read in this time were not read by anybody who could answer them. */
const checkRetentionMs = 3_600_000;

export interface HalfTopicsOptions {
  readonly topics: {
    get(name: string): Topic | undefined;
    create(requests: readonly NewTopic[], validateOnly: boolean): Promise<readonly TopicOutcome[]>;
  };
}

/** The producer group whose decisions are produced to the topic; undefined where it is no operation topic. */
export function producerGroupOf({ name, settings }: Topic): string | undefined {
  if (settings.role !== operationRole) return undefined;
  if (settings.producerGroup !== '') return settings.producerGroup;
  return name.startsWith(operationPrefix) ? name.slice(operationPrefix.length) : undefined;
}

/** Makes them with the first half message of a group. */
export class HalfTopics {
  private readonly topics: HalfTopicsOptions['topics'];
  private readonly making = new Map<string, Promise<string | undefined>>();

  constructor({ topics }: HalfTopicsOptions) {
    this.topics = topics;
  }

  /** True where nothing has to be made. */
  areThere(group: string): boolean {
    const areMade = [checkTopicOf, discardTopicOf].every(
      (nameOf) => this.topics.get(nameOf(group)) !== undefined,
    );
    return areMade && this.isOperatedBy(group);
  }

  private isOperatedBy(group: string): boolean {
    const operations = this.topics.get(operationTopicOf(group));
    return operations !== undefined && producerGroupOf(operations) === group;
  }

  /** Resolves with why they could not be made, or undefined. */
  ensure(group: string): Promise<string | undefined> {
    if (this.areThere(group)) return Promise.resolve(undefined);
    let making = this.making.get(group);
    if (making === undefined) {
      making = this.make(group).finally(() => this.making.delete(group));
      this.making.set(group, making);
    }
    return making;
  }

  private async make(group: string): Promise<string | undefined> {
    const requests = [
      newTopic(checkTopicOf(group), [['retention.ms', String(checkRetentionMs)]]),
      newTopic(operationTopicOf(group), [
        ['rmq.role', operationRole],
        [producerGroupKey, group],
      ]),
      newTopic(discardTopicOf(group), []),
    ].filter(({ name }) => this.topics.get(name) === undefined);
    const operations = this.topics.get(operationTopicOf(group));
    if (operations !== undefined && !this.isOperatedBy(group)) {
      return operations.settings.role === operationRole
        ? `Topic ${operations.name} is the operation topic of another producer group; ${producerGroupKey} must be ${group}`
        : `Topic ${operations.name} exists and is no operation topic; rmq.role must be ${operationRole}`;
    }
    for (const outcome of await this.topics.create(requests, false)) {
      if ('error' in outcome && outcome.error.code !== errorCodes.TOPIC_ALREADY_EXISTS) {
        return outcome.error.message ?? 'a topic of the producer group could not be made';
      }
    }
    return undefined;
  }
}

function newTopic(name: string, overrides: readonly (readonly [string, string])[]): NewTopic {
  return { name, partitions: -1, replicationFactor: -1, assignments: [], overrides: new Map(overrides) };
}
