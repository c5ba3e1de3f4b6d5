/** How long open transactions hold readers back, as dashboards see it. */
import { describe, expect, it } from 'vitest';
import { transactionMetrics } from '../../../src/services/transactions/transaction-metrics.ts';
import { TransactionBroker } from './transaction-broker.ts';

describe('the age of a last stable offset', () => {
  it('is told of partitions that are held back, and of no others', async () => {
    const broker = await TransactionBroker.inMemory();
    await broker.createTopic('orders', 'NORMAL');
    await broker.transactions.ensureTopic();
    const told = () => {
      const lines: Record<string, number> = {};
      let family = '';
      transactionMetrics(broker.transactions)({
        single: (name, _type, _help, value) => {
          lines[name] = value;
        },
        family: (name) => {
          family = name;
        },
        sample: (value, labels = {}) => {
          lines[`${family} ${labels.topic}-${labels.partition}`] = value;
        },
      });
      return lines;
    };
    const begin = async (transactionalId: string, partition: number) => {
      const { errorCode, ...facts } = await broker.transactions.initProducerId(
        transactionalId,
        60_000,
        undefined,
      );
      expect(errorCode).toBe(0);
      const sender = { transactionalId, ...facts, sequence: 0 };
      await broker.send(sender, [['orders', partition, [{ value: 'a' }, { value: 'b' }]]]);
      return sender;
    };
    const older = await begin('older', 0);
    await broker.clock.advance(5_000);
    await begin('younger', 0);
    await broker.clock.advance(2_000);
    expect(told()).toMatchObject({
      odradek_transactions_open: 2,
      odradek_transactions_oldest_open_seconds: 7,
      'odradek_partition_stable_offset_age_seconds orders-0': 7,
      'odradek_partition_stable_offset_lag orders-0': 4,
    });
    await broker.transactions.endTransaction('older', older, true, true);
    expect(told()).toMatchObject({
      odradek_transactions_open: 1,
      odradek_transactions_committed_total: 1,
      'odradek_partition_stable_offset_age_seconds orders-0': 2,
      'odradek_partition_stable_offset_lag orders-0': 3,
    });
    // Whoever never ends is aborted: nothing hangs for ever.
    await broker.pass(80_000);
    const after = told();
    expect(after).toMatchObject({ odradek_transactions_open: 0, odradek_transactions_timed_out_total: 1 });
    expect(Object.keys(after).filter((name) => name.includes('stable_offset'))).toEqual([]);
    await broker.closeServices();
  });
});
