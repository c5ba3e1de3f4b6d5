/**
 * The operation topic `delay.op.<topic>` (rmq.role=delay-op): each record produced to it acts on a delayed record of that topic. Key:
 * the message id. Header rmq-delay-action: cancel, reschedule or deliver; a null value without it cancels. A reschedule says when by the same
 * headers as a delayed record. The batch is done whole, and then kept in the topic, or not at all; refusals name the records.
 */
import { errorCodes } from '../../../../protocol/error-codes.ts';
import { openBatch } from '../../../../protocol/records/batch-records.ts';
import type { RecordCursor } from '../../../../protocol/records/record-cursor.ts';
import { RecordError } from '../../../../protocol/records/record-error.ts';
import type { Clock } from '../../../util/clock.ts';
import type { RecordFault } from '../../append/append-result.ts';
import type { AppendStep, AppendTarget, PerformedWork, PlannedWork } from '../../append/append-steps.ts';
import { type AdmittedBatch, Refusal } from '../../append/batch-admission.ts';
import type { Topic, TopicDirectory } from '../../topics/topic.ts';
import {
  type DelayHeaders,
  delayLevelHeader,
  delayMsHeader,
  deliverAtMsHeader,
  dueTimeOf,
  longestMessageId,
  shown,
} from './delay-headers.ts';
import type { DelayOperation, DelayOperations } from './delay-operations.ts';
import { maxDelayedBytes } from './delayed-records.ts';

/** Names of operation topics start so; what follows is the name of the topic. */
export const operationPrefix = 'delay.op.';
export const actionHeader = 'rmq-delay-action';

/** Operations of one batch. */
export const maxOperations = 1000;

export interface DelayOpStepOptions {
  readonly topics: Pick<TopicDirectory, 'get'>;
  readonly operations: DelayOperations;
  readonly clock: Clock;
}

/** The topic whose records an operation topic acts on, by name; undefined where the name says none. */
export function operatedTopic(name: string): string | undefined {
  return name.startsWith(operationPrefix) && name.length > operationPrefix.length
    ? name.slice(operationPrefix.length)
    : undefined;
}

const operationSettings: ReadonlyMap<string, string> = new Map([['rmq.role', 'delay-op']]);
const noSettings: ReadonlyMap<string, string> = new Map();

/** What a new topic of this name is set to: to operate on the one that it names, where that delays records. */
export function settingsByName(
  name: string,
  get: (name: string) => Topic | undefined,
): ReadonlyMap<string, string> {
  const operated = operatedTopic(name);
  const type = operated === undefined ? undefined : get(operated)?.settings.messageType;
  return type === 'DELAY' || type === 'MIXED' ? operationSettings : noSettings;
}

export class DelayOpStep implements AppendStep {
  readonly name = 'delay-op';
  private readonly options: DelayOpStepOptions;

  constructor(options: DelayOpStepOptions) {
    this.options = options;
  }

  apply(batch: AdmittedBatch, target: AppendTarget): PlannedWork | Refusal | undefined {
    if (target.topic.settings.role !== 'delay-op') return undefined;
    const name = operatedTopic(target.topic.name);
    const topic = name === undefined ? undefined : this.options.topics.get(name);
    if (topic === undefined) {
      return refuse([faultOf(0, `${target.topic.name} acts on no topic that there is (rmq.role=delay-op)`)]);
    }
    if (batch.isTransactional) {
      return refuse([faultOf(0, 'Operations on delayed records cannot be part of a Kafka transaction')]);
    }
    const operations: DelayOperation[] = [];
    const faults: RecordFault[] = [];
    try {
      const cursor = openBatch(batch.payload, 0, { limitBytes: maxDelayedBytes });
      while (cursor.next()) {
        if (cursor.index >= maxOperations) {
          return refuse([faultOf(cursor.index, `A batch may have ${maxOperations} operations`)]);
        }
        const read = readOperation(cursor, topic, this.options.clock.nowMs());
        if ('fault' in read) faults.push(faultOf(cursor.index, read.fault));
        else operations.push(read);
      }
    } catch (error) {
      if (error instanceof RecordError) return new Refusal(errorCodes[error.codeName], error.message);
      throw error;
    }
    if (faults.length > 0) return refuse(faults);
    const payload = Buffer.from(batch.payload);
    return { perform: () => this.perform(topic, operations, { ...batch, payload }, target) };
  }

  private async perform(
    topic: Topic,
    operations: readonly DelayOperation[],
    batch: Pick<AdmittedBatch, 'payload' | 'recordCount' | 'maxTimestampMs'>,
    target: AppendTarget,
  ): Promise<Refusal | PerformedWork> {
    // Without the producer's sequence: a refused operation must not hold up those that follow it, and a repeat does nothing.
    const { answers, baseOffset } = await this.options.operations.perform(topic, operations, {
      queue: target.partition.queue,
      kind: 'data',
      count: batch.recordCount,
      maxTimestampMs: batch.maxTimestampMs,
      payload: batch.payload,
    });
    const faults: RecordFault[] = [];
    for (const [index, answer] of answers.entries()) {
      if (answer.outcome === 'failed') {
        return new Refusal(errorCodes.KAFKA_STORAGE_ERROR, null);
      }
      if (answer.outcome === 'refused') faults.push(faultOf(index, answer.message));
    }
    return faults.length > 0 ? refuse(faults) : { baseOffset, logStartOffset: -1 };
  }
}

function readOperation(
  cursor: RecordCursor,
  topic: Topic,
  nowMs: number,
): DelayOperation | { readonly fault: string } {
  const key = cursor.key();
  if (key === null || key.length === 0 || key.length > longestMessageId) {
    return { fault: `The key must be a message id of 1 to ${longestMessageId} bytes` };
  }
  const messageId = Buffer.from(key);
  const control: { level?: Buffer | null; delayMs?: Buffer | null; deliverAtMs?: Buffer | null } = {};
  let action: string | undefined = cursor.valueLength < 0 ? 'cancel' : undefined;
  for (const header of cursor.headers()) {
    switch (header.key.toString('latin1')) {
      case actionHeader:
        action = header.value?.toString('latin1') ?? '';
        break;
      case delayLevelHeader:
        control.level = header.value;
        break;
      case delayMsHeader:
        control.delayMs = header.value;
        break;
      case deliverAtMsHeader:
        control.deliverAtMs = header.value;
        break;
    }
  }
  if (action === 'cancel' || action === 'deliver') return { action, messageId };
  if (action !== 'reschedule') {
    const text = action === undefined ? 'missing' : shown(Buffer.from(action, 'latin1'));
    return { fault: `Header ${actionHeader} must be cancel, reschedule or deliver; it is ${text}` };
  }
  if (control.level === undefined && control.delayMs === undefined && control.deliverAtMs === undefined) {
    return { fault: `A reschedule needs ${delayLevelHeader}, ${delayMsHeader} or ${deliverAtMsHeader}` };
  }
  const due = dueTimeOf(control as DelayHeaders, { nowMs, maxDelayMs: topic.settings.delayMaxMs });
  return 'fault' in due ? due : { action, messageId, dueMs: due.dueMs };
}

function faultOf(batchIndex: number, batchIndexErrorMessage: string): RecordFault {
  return { batchIndex, batchIndexErrorMessage };
}

function refuse(faults: readonly RecordFault[]): Refusal {
  const [first] = faults;
  return new Refusal(
    errorCodes.INVALID_RECORD,
    `Record ${first!.batchIndex}: ${first!.batchIndexErrorMessage}`,
    faults,
  );
}
