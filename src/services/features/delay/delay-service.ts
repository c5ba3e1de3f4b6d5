/** Delayed records as a whole: its parts put together for the composition root. Knows nothing of the wire and of HTTP. */
import type { QueueId, StorageEngine } from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import type { Log } from '../../../util/log.ts';
import type { AppendStep } from '../../append/append-steps.ts';
import type { BrokerSettings } from '../../configuration/broker-config.ts';
import { ensureHiddenQueues } from '../../topics/hidden-queues.ts';
import type { TopicDirectory } from '../../topics/topic.ts';
import { type HeldRecords, heldFeatures } from '../../transactions/held-records.ts';
import type { HiddenTrim } from '../timers/hidden-trim.ts';
import type { TimerEngine } from '../timers/timer-engine.ts';
import { timerKinds } from '../timers/timer-kinds.ts';
import { DelayDelivery, OutcomeExpiry } from './delay-delivery.ts';
import { DelayHeld } from './delay-held.ts';
import { DelayOpStep } from './delay-op-step.ts';
import { DelayOperations } from './delay-operations.ts';
import { DelayStep } from './delay-step.ts';

export interface DelayServiceOptions {
  readonly engine: StorageEngine;
  /** As `ensureQueues` gave them. */
  readonly queues: readonly QueueId[];
  readonly topics: Pick<TopicDirectory, 'get' | 'byId'>;
  readonly timers: TimerEngine;
  readonly trim: HiddenTrim;
  /** Where a transaction's delayed records wait for its end; without, no transaction may have any. */
  readonly held?: Pick<HeldRecords, 'register'> | undefined;
  readonly config: Pick<BrokerSettings, 'long'>;
  readonly clock: Clock;
  readonly log: Log;
}

const hiddenName = '__rmq_delay';
const hiddenShards = 8;

export class DelayService {
  readonly operations: DelayOperations;
  readonly step: DelayStep;
  readonly delivery: DelayDelivery;
  /** In the order in which the append service asks them. */
  readonly steps: readonly AppendStep[];

  /** Where delayed records wait: made where they are not there yet. */
  static ensureQueues(engine: StorageEngine): Promise<readonly QueueId[]> {
    return ensureHiddenQueues(engine.catalogue, hiddenName, hiddenShards);
  }

  constructor(options: DelayServiceOptions) {
    const { queues, engine, topics, timers, trim, config, clock, log } = options;
    const outcomeKeptMs = () => config.long('rmq.delay.outcome.retention.ms');
    const delivery = new DelayDelivery({ engine, topics, clock, outcomeKeptMs });
    this.delivery = delivery;
    timers.register(timerKinds.delayedDelivery, delivery);
    timers.register(timerKinds.delayedOutcome, new OutcomeExpiry());
    trim.watch(queues);
    this.operations = new DelayOperations({ engine, timers, clock, delivery, outcomeKeptMs });
    this.step = new DelayStep({ clock, log, timers, queues, outcomeKeptMs });
    const { step } = this;
    const scheduled = (records: number): void => step.scheduledLater(records);
    options.held?.register(
      heldFeatures.delayedRecord,
      new DelayHeld({ timers, clock, outcomeKeptMs, scheduled }),
    );
    this.steps = [new DelayOpStep({ topics, operations: this.operations, clock }), this.step];
  }
}
