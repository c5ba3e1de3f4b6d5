/**
 * Where dead letters go: finds or makes a group's dead-letter topic, and makes the entries that are appended to it, alone or in the
 * append group of what gave the record up. Knows neither share groups nor retries.
 */
import { errorCodes } from '../../../../protocol/error-codes.ts';
import { setBatchMaxTimestamp } from '../../../../protocol/records/record-batch.ts';
import type { AppendEntry, StorageEngine } from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import type { BrokerSettings } from '../../configuration/broker-config.ts';
import type { Topic } from '../../topics/topic.ts';
import { type FeatureTopics, isEmptyTopic } from '../feature-topic-maker.ts';
import { type DeadLetterSettings, deadLetterSettingsOf, type GroupValues } from '../retry/retry-settings.ts';
import { type DeadLetter, type DeadLetterReason, deadLetterBatch, deadLetterReasons } from './dead-letter.ts';

/** rmq key of topics that take dead letters (KIP-1191). */
export const deadLetterTopicKey = 'errors.deadletterqueue.group.enable';

export interface DeadLetterWriterOptions {
  readonly engine: StorageEngine;
  readonly topics: FeatureTopics;
  readonly groupConfigs: GroupValues;
  readonly config: Pick<BrokerSettings, 'boolean' | 'string'>;
  readonly clock: Clock;
}

/** Where a group's dead letters go, and whether the record is copied there. */
export interface DeadLetterTarget {
  readonly topic: Topic;
  readonly copiesRecord: boolean;
}

/** `none`: the group has no dead-letter topic, what it gives up is dropped. */
export type ResolvedTarget = DeadLetterTarget | { readonly trouble: string } | 'none';

export class DeadLetterWriter {
  private readonly options: DeadLetterWriterOptions;
  /** By topic. */
  private readonly making = new Map<string, Promise<ResolvedTarget>>();
  /** Dead letters written since the start. */
  readonly written: Record<DeadLetterReason, number> = Object.fromEntries(
    deadLetterReasons.map((reason) => [reason, 0]),
  ) as Record<DeadLetterReason, number>;

  constructor(options: DeadLetterWriterOptions) {
    this.options = options;
  }

  /** The same without making anything: undefined where it would have to be made first. */
  find(group: string): ResolvedTarget | undefined {
    return this.findAs(this.settingsOf(group));
  }

  private findAs(settings: DeadLetterSettings): ResolvedTarget | undefined {
    if (settings.topic === '') return 'none';
    const topic = this.options.topics.get(settings.topic);
    if (topic === undefined || !topic.settings.takesDeadLetters) return undefined;
    return { topic, copiesRecord: settings.copiesRecord };
  }

  /**
   * Made or set up where the group's settings let it. `trouble`: why it cannot be, in words that name the setting. `values`: settings
   * that are about to be in force.
   */
  async resolve(group: string, values: GroupValues = this.options.groupConfigs): Promise<ResolvedTarget> {
    const settings = deadLetterSettingsOf(values, this.options.config, group);
    const found = this.findAs(settings);
    if (found !== undefined) return found;
    let making = this.making.get(settings.topic);
    if (making === undefined) {
      making = this.make(settings).finally(() => this.making.delete(settings.topic));
      this.making.set(settings.topic, making);
    }
    return making;
  }

  /** The letter as an entry of an append group; `sizeBytes` of its payload. Call `count` when the group was appended. */
  entryOf(letter: DeadLetter, target: DeadLetterTarget): AppendEntry & { readonly payload: Buffer } {
    const { topic, copiesRecord } = target;
    const nowMs = this.options.clock.nowMs();
    const { payload, maxTimestampMs } = deadLetterBatch(letter, copiesRecord, nowMs);
    const partition = topic.partitions[letter.source.partition % topic.partitions.length]!;
    const entry = { queue: partition.queue, kind: 'data', count: 1, payload } as const;
    if (topic.settings.messageTimestampType !== 'LogAppendTime') return { ...entry, maxTimestampMs };
    setBatchMaxTimestamp(payload, 0, 'LogAppendTime', nowMs);
    return { ...entry, maxTimestampMs: nowMs };
  }

  count(reason: DeadLetterReason): void {
    this.written[reason] += 1;
  }

  /** Appended alone, durably. Undefined when done (also where the group has no dead-letter topic), else why not. */
  async write(letter: DeadLetter): Promise<string | undefined> {
    const target = await this.resolve(letter.group);
    if (target === 'none') return undefined;
    if ('trouble' in target) return target.trouble;
    if (target.topic.name === letter.source.topic) return wouldLoop(letter.source.topic);
    const entries = [this.entryOf(letter, target)];
    const [result] = await this.options.engine.append({ durability: 'sync', entries });
    if (result?.outcome !== 'appended') return 'The dead letter could not be written now; try again';
    this.count(letter.reason);
    return undefined;
  }

  private settingsOf(group: string): DeadLetterSettings {
    const { groupConfigs, config } = this.options;
    return deadLetterSettingsOf(groupConfigs, config, group);
  }

  private async make(settings: DeadLetterSettings): Promise<ResolvedTarget> {
    const trouble = this.nameTrouble(settings) ?? (await this.makeTopic(settings));
    if (trouble !== undefined) return { trouble };
    const topic = this.options.topics.get(settings.topic);
    if (topic === undefined) return { trouble: `Topic ${settings.topic} was deleted` };
    return { topic, copiesRecord: settings.copiesRecord };
  }

  private nameTrouble({ topic, prefix }: DeadLetterSettings): string | undefined {
    if (topic.startsWith('__'))
      return `The name of a dead-letter topic must not start with '__', as ${topic}`;
    return topic.startsWith(prefix)
      ? undefined
      : `Dead-letter topics must be called ${prefix}... (errors.deadletterqueue.topic.name.prefix), not ${topic}`;
  }

  private async makeTopic({ topic: name, mayCreate }: DeadLetterSettings): Promise<string | undefined> {
    const { topics, engine } = this.options;
    const present = topics.get(name);
    if (present === undefined && !mayCreate) {
      return `There is no topic ${name}, and errors.deadletterqueue.auto.create.topics.enable is false`;
    }
    const key = deadLetterTopicKey;
    if (present === undefined) {
      const overrides = new Map([[key, 'true']]);
      const [outcome] = await topics.create(
        [{ name, partitions: -1, replicationFactor: -1, assignments: [], overrides }],
        false,
      );
      if (outcome === undefined || !('error' in outcome)) return undefined;
      if (outcome.error.code !== errorCodes.TOPIC_ALREADY_EXISTS) {
        return outcome.error.message ?? `Topic ${name} could not be made`;
      }
      return topics.get(name)?.settings.takesDeadLetters === true ? undefined : takesNone(name);
    }
    // An empty topic of the name is taken over; one with records is somebody's.
    if (!mayCreate || !(await isEmptyTopic(engine, present))) return takesNone(name);
    const outcome = await topics.alterOverrides(
      name,
      (current) => new Map([...current, [key, 'true']]),
      false,
    );
    return 'error' in outcome ? (outcome.error.message ?? takesNone(name)) : undefined;
  }
}

function takesNone(name: string): string {
  return `Topic ${name} exists and takes no dead letters; its ${deadLetterTopicKey} must be true`;
}

export function wouldLoop(topic: string): string {
  return `What fails in ${topic} would become a dead letter there again`;
}
