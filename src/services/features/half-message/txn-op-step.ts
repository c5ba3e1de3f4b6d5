/**
 * The operation topic `txn.op.<producer group>` (rmq.role=txn-op): each record produced to it decides about one half message. Key: the
 * transaction id. Header rmq-txn-action: commit, rollback or unknown. The batch is done whole, and then kept in the topic, or not at
 * all; refusals name the records.
 */
import { errorCodes } from '../../../../protocol/error-codes.ts';
import { openBatch } from '../../../../protocol/records/batch-records.ts';
import type { RecordCursor } from '../../../../protocol/records/record-cursor.ts';
import { RecordError } from '../../../../protocol/records/record-error.ts';
import type { RecordFault } from '../../append/append-result.ts';
import type { AppendStep, AppendTarget, PerformedWork, PlannedWork } from '../../append/append-steps.ts';
import { type AdmittedBatch, Refusal } from '../../append/batch-admission.ts';
import { shown } from '../delay/delay-headers.ts';
import { maxHalfBatchBytes } from './half-batch.ts';
import type { HalfDecision, HalfDecisions } from './half-decisions.ts';
import { longestTxnId, txnActionHeader, verdictOf } from './half-headers.ts';
import { operationRole, producerGroupOf } from './half-topics.ts';

/** Decisions of one batch. */
export const maxDecisions = 1000;

export class TxnOpStep implements AppendStep {
  readonly name = 'txn-op';
  private readonly decisions: HalfDecisions;

  constructor(decisions: HalfDecisions) {
    this.decisions = decisions;
  }

  apply(batch: AdmittedBatch, target: AppendTarget): PlannedWork | Refusal | undefined {
    if (target.topic.settings.role !== operationRole) return undefined;
    const producerGroup = producerGroupOf(target.topic);
    if (producerGroup === undefined) {
      return refuse([faultOf(0, `${target.topic.name} names no producer group (rmq.producer.group)`)]);
    }
    if (batch.isTransactional) {
      return refuse([faultOf(0, 'Decisions about half messages cannot be part of a Kafka transaction')]);
    }
    const decisions: HalfDecision[] = [];
    const faults: RecordFault[] = [];
    try {
      const cursor = openBatch(batch.payload, 0, { limitBytes: maxHalfBatchBytes });
      while (cursor.next()) {
        if (cursor.index >= maxDecisions) {
          return refuse([faultOf(cursor.index, `A batch may have ${maxDecisions} decisions`)]);
        }
        const read = readDecision(cursor, producerGroup);
        if ('fault' in read) faults.push(faultOf(cursor.index, read.fault));
        else decisions.push(read);
      }
    } catch (error) {
      if (error instanceof RecordError) return new Refusal(errorCodes[error.codeName], error.message);
      throw error;
    }
    if (faults.length > 0) return refuse(faults);
    const { recordCount, maxTimestampMs } = batch;
    const payload = Buffer.from(batch.payload);
    return { perform: () => this.perform(decisions, { payload, recordCount, maxTimestampMs }, target) };
  }

  private async perform(
    decisions: readonly HalfDecision[],
    {
      payload,
      recordCount,
      maxTimestampMs,
    }: Pick<AdmittedBatch, 'payload' | 'recordCount' | 'maxTimestampMs'>,
    { partition }: AppendTarget,
  ): Promise<Refusal | PerformedWork> {
    // Without the producer's sequence: a refused decision must not hold up those that follow it, and a repeat does nothing.
    const { answers, baseOffset } = await this.decisions.perform(decisions, {
      queue: partition.queue,
      kind: 'data',
      count: recordCount,
      maxTimestampMs,
      payload,
    });
    const faults: RecordFault[] = [];
    for (const [index, answer] of answers.entries()) {
      if (answer.outcome === 'failed') return new Refusal(errorCodes.KAFKA_STORAGE_ERROR, null);
      if (answer.outcome === 'refused') faults.push(faultOf(index, answer.message));
    }
    return faults.length > 0 ? refuse(faults) : { baseOffset, logStartOffset: -1 };
  }
}

function readDecision(
  cursor: RecordCursor,
  producerGroup: string,
): HalfDecision | { readonly fault: string } {
  const key = cursor.key();
  if (key === null || key.length === 0 || key.length > longestTxnId) {
    return { fault: `The key must be a transaction id of 1 to ${longestTxnId} bytes` };
  }
  const actions = cursor.headers().filter((header) => header.key.toString('latin1') === txnActionHeader);
  const verdict = actions.length === 1 ? verdictOf(actions[0]!.value) : undefined;
  if (verdict === undefined) {
    const said = actions.length === 1 ? shown(actions[0]!.value) : `${actions.length} of them`;
    return { fault: `Header ${txnActionHeader} must be commit, rollback or unknown, not ${said}` };
  }
  return { id: { producerGroup, txnId: Buffer.from(key) }, verdict };
}

function faultOf(batchIndex: number, message: string): RecordFault {
  return { batchIndex, batchIndexErrorMessage: message };
}

function refuse(faults: readonly RecordFault[]): Refusal {
  const [first] = faults;
  const message = `Record ${first!.batchIndex}: ${first!.batchIndexErrorMessage}`;
  return new Refusal(errorCodes.INVALID_RECORD, message, faults);
}
