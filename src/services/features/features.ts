/**
 * What RocketMQ has and Kafka has not, put together: timers, and the features that stand on them. The one file of this folder that knows
 * every feature.
 */
import type { QueueId, StorageEngine } from '../../storage/engine.ts';
import type { Clock } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import type { AppendStep } from '../append/append-steps.ts';
import type { BrokerSettings } from '../configuration/broker-config.ts';
import type { GroupConfigs } from '../configuration/group-configs.ts';
import type { GroupCoordinator } from '../groups/group-coordinator.ts';
import type { Topic } from '../topics/topic.ts';
import type { TopicCatalogue } from '../topics/topic-catalogue.ts';
import type { HeldRecords } from '../transactions/held-records.ts';
import { DeadLetterRedrive } from './dead-letters/dead-letter-redrive.ts';
import { DeadLetterWriter } from './dead-letters/dead-letter-writer.ts';
import { settingsByName } from './delay/delay-op-step.ts';
import { DelayService } from './delay/delay-service.ts';
import {
  committedBy,
  committedIn,
  consumerReadsTopic,
  readsTopic,
  topicsOf,
} from './half-message/check-readers.ts';
import { HalfService } from './half-message/half-service.ts';
import { checkTopicOf } from './half-message/half-topic-names.ts';
import { RetryService } from './retry/retry-service.ts';
import { retrySettingsOf } from './retry/retry-settings.ts';
import { HiddenTrim } from './timers/hidden-trim.ts';
import { TimerEngine } from './timers/timer-engine.ts';

export interface FeatureOptions {
  readonly engine: StorageEngine;
  readonly queues: HiddenQueues;
  readonly topics: TopicCatalogue;
  readonly groups: Pick<
    GroupCoordinator,
    'describe' | 'describeConsumer' | 'fetchOffsets' | 'moveOffset' | 'guard'
  >;
  readonly groupConfigs: GroupConfigs;
  readonly config: BrokerSettings;
  /** What waits for the end of a Kafka transaction. */
  readonly held: HeldRecords;
  readonly clock: Clock;
  readonly log: Log;
}

/** Of each feature, where its records wait. */
export interface HiddenQueues {
  readonly delay: readonly QueueId[];
  readonly half: readonly QueueId[];
  readonly retry: readonly QueueId[];
}

export class Features {
  readonly timers: TimerEngine;
  readonly trim: HiddenTrim;
  readonly delay: DelayService;
  readonly half: HalfService;
  readonly retry: RetryService;
  /** For whoever gives records up. */
  readonly deadLetters: DeadLetterWriter;
  readonly redrive: DeadLetterRedrive;
  private readonly log: Log;
  /** In the order in which the append service asks them. */
  readonly steps: readonly AppendStep[];

  /** Made where they are not there yet. */
  static async ensureQueues(engine: StorageEngine): Promise<HiddenQueues> {
    return {
      delay: await DelayService.ensureQueues(engine),
      half: await HalfService.ensureQueues(engine),
      retry: await RetryService.ensureQueues(engine),
    };
  }

  constructor(options: FeatureOptions) {
    const { engine, topics, groups, groupConfigs, config, held, clock, queues } = options;
    const log = options.log.component('timers');
    const timers = new TimerEngine({ engine, clock, log });
    const trim = new HiddenTrim({ engine, timers, clock, log, others: () => held.sources() });
    const common = { engine, topics, timers, trim, config, clock };
    this.deadLetters = new DeadLetterWriter({ engine, topics, groupConfigs, config, clock });
    this.log = options.log.component('dead-letters');
    this.redrive = new DeadLetterRedrive({
      engine,
      topics,
      deadLetters: this.deadLetters,
      retryOf: (group) => retrySettingsOf(groupConfigs, group),
      clock,
      log: this.log,
    });
    this.timers = timers;
    this.trim = trim;
    this.delay = new DelayService({ ...common, queues: queues.delay, held, log });
    this.half = new HalfService({
      ...common,
      queues: queues.half,
      delay: this.delay,
      groupConfigs,
      // The producers of a group consume its check topic under the group's own id.
      isAnyoneThere: async (group) =>
        readsTopic(await groups.describe(group), checkTopicOf(group)) ||
        consumerReadsTopic(await groups.describeConsumer(group), checkTopicOf(group)),
      readUpTo: async (group) => committedIn(groups, group, topics.get(checkTopicOf(group))),
      log: options.log,
    });
    this.retry = new RetryService({
      ...common,
      queues: queues.retry,
      held,
      groupConfigs,
      deadLetters: this.deadLetters,
      guarded: {
        topicsRead: async (group) => topicsOf(await groups.describe(group)),
        committed: async (group) => committedBy(groups, group),
        moveOffset: (group, from, topicId, to) => groups.moveOffset(group, from, topicId, to),
      },
      log: options.log,
    });
    groups.guard = this.retry.guard;
    this.steps = [...this.retry.steps, ...this.half.steps, ...this.delay.steps];
  }

  /** What a new topic of this name is set to: some names stand for something. */
  settingsByName(name: string, get: (name: string) => Topic | undefined): ReadonlyMap<string, string> {
    const byDelay = settingsByName(name, get);
    return byDelay.size > 0 ? byDelay : this.retry.topics.settingsByName(name);
  }

  start(): void {
    this.timers.start();
    this.trim.start();
    this.redrive
      .start()
      .catch((error: unknown) => this.log.error({ error }, 'redrives of dead letters could not be taken up'));
  }

  async close(): Promise<void> {
    await this.half.close();
    await this.redrive.close();
    await this.trim.close();
    await this.timers.close();
  }
}
