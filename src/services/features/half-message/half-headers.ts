/** What headers say of half messages, and of what is decided about them. Pure. */

/** Asks for a half message; its value is `half`. */
export const txnHeader = 'rmq-txn';
/** Given by the producer, unique in its producer group. */
export const txnIdHeader = 'rmq-txn-id';
export const producerGroupHeader = 'rmq-producer-group';
/** The first check waits so long, in place of the group's rmq.txn.timeout.ms. */
export const immunityHeader = 'rmq-txn-immunity-ms';
/** On records of operation topics: commit, rollback or unknown. */
export const txnActionHeader = 'rmq-txn-action';

/** What check and discard records say of their half message. */
export const checkHeaders = {
  txnId: 'rmq-txn-id',
  producerGroup: 'rmq-producer-group',
  checkTimes: 'rmq-check-times',
  realTopic: 'rmq-real-topic',
  realPartition: 'rmq-real-partition',
  /** The record's own key, where it has one. */
  realKey: 'rmq-real-key',
  bornMs: 'rmq-born-ms',
  reason: 'rmq-discard-reason',
  /** Of a Kafka transaction: whose it is. */
  transactionalId: 'rmq-transactional-id',
  producerId: 'rmq-producer-id',
  producerEpoch: 'rmq-producer-epoch',
} as const;

export const halfValue = 'half';
export const longestTxnId = 255;
export const longestProducerGroup = 200;

export const verdicts = ['commit', 'rollback', 'unknown'] as const;
export type Verdict = (typeof verdicts)[number];

export function verdictOf(value: Buffer | null | undefined): Verdict | undefined {
  const text = value?.toString('latin1');
  return verdicts.find((verdict) => verdict === text);
}
