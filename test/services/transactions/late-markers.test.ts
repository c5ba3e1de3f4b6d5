/** A marker of an operator that comes too late ends nothing of the transaction after it (KAFKA-18575). */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { errorCodes } from '../../../protocol/error-codes.ts';
import { TransactionBroker } from './transaction-broker.ts';

const offsetsTopic = '__consumer_offsets';
let broker: TransactionBroker;

beforeEach(async () => {
  broker = await TransactionBroker.inMemory();
});

afterEach(async () => {
  await broker.closeServices();
});

it('leaves the offsets of a newer epoch pending', async () => {
  await broker.groups.ensureTopic();
  const partition = broker.groups.partitionOf('g')!;
  const answer = await broker.groups.commitTransactional({
    groupId: 'g',
    producerId: 7,
    producerEpoch: 3,
    memberId: '',
    groupInstanceId: null,
    generationId: -1,
    topics: [
      {
        name: 't',
        topicId: 'AAAAAAAAAAAAAAAAAAAAAA',
        partitions: [
          { partitionIndex: 0, offset: 5, leaderEpoch: -1, metadata: null, commitTimestampMs: -1 },
        ],
      },
    ],
  });
  expect(answer.errorCode).toBe(errorCodes.NONE);
  const end = (producerEpoch: number) =>
    broker.transactions.writeMarker(offsetsTopic, partition, {
      producerId: 7,
      producerEpoch,
      isCommit: true,
      coordinatorEpoch: 0,
    });
  expect(await end(2)).toBe(errorCodes.INVALID_PRODUCER_EPOCH);
  expect(broker.groups.pendingEpochOf(partition, 7)).toBe(3);
  expect(await end(3)).toBe(errorCodes.NONE);
  expect(broker.groups.pendingEpochOf(partition, 7)).toBeUndefined();
});
