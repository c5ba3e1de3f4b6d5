import type { BrokerSettings } from '../configuration/broker-config.ts';

/** What the broker's configuration says about transactions. The name of its key stands beside each. */
export interface TransactionSettings {
  /** transaction.max.timeout.ms */
  readonly maxTimeoutMs: number;
  /** transaction.abort.timed.out.transaction.cleanup.interval.ms */
  readonly timeoutCheckIntervalMs: number;
  /** transactional.id.expiration.ms */
  readonly idExpirationMs: number;
  /** transaction.remove.expired.transaction.cleanup.interval.ms */
  readonly idExpirationCheckIntervalMs: number;
  /** transaction.partition.verification.enable */
  readonly verifiesPartitions: boolean;
  /** rmq.transactions.partition.max.ids: transactional ids that one partition of __transaction_state keeps. */
  readonly maxIdsPerPartition: number;
  /** rmq.transactions.max.open.partitions */
  readonly maxOpenPartitions: number;
}

/** The broker's settings as transactions see them, always those in force. */
export function transactionSettingsFrom(
  config: Pick<BrokerSettings, 'int' | 'boolean'>,
): TransactionSettings {
  return {
    get maxTimeoutMs() {
      return config.int('transaction.max.timeout.ms');
    },
    get timeoutCheckIntervalMs() {
      return config.int('transaction.abort.timed.out.transaction.cleanup.interval.ms');
    },
    get idExpirationMs() {
      return config.int('transactional.id.expiration.ms');
    },
    get idExpirationCheckIntervalMs() {
      return config.int('transaction.remove.expired.transaction.cleanup.interval.ms');
    },
    get verifiesPartitions() {
      return config.boolean('transaction.partition.verification.enable');
    },
    get maxIdsPerPartition() {
      return config.int('rmq.transactions.partition.max.ids');
    },
    get maxOpenPartitions() {
      return config.int('rmq.transactions.max.open.partitions');
    },
  };
}
