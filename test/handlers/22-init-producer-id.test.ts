import { expect, it } from 'vitest';
import { errorCodes } from '../../protocol/error-codes.ts';
import type { InitProducerIdResponse } from '../../protocol/generated/22-init-producer-id.ts';
import { DataBroker } from './data-broker.ts';

const broker = new DataBroker();
const init = (version: number, request: object = {}) =>
  broker.call<InitProducerIdResponse>(22, version, {
    transactionalId: null,
    transactionTimeoutMs: 60_000,
    ...request,
  });

it('gives a new id with epoch 0 in every version', async () => {
  const ids = new Set<number>();
  for (const version of [0, 1, 2, 3, 4, 5]) {
    const { errorCode, producerId, producerEpoch } = await init(version);
    expect([errorCode, producerEpoch]).toEqual([0, 0]);
    ids.add(Number(producerId));
  }
  expect(ids.size).toBe(6);
});

it('gives a new one to who has one already, as Kafka does', async () => {
  const before = await init(3);
  const after = await init(3, { producerId: before.producerId, producerEpoch: 0 });
  expect(after).toMatchObject({ errorCode: 0, producerEpoch: 0 });
  expect(after.producerId).not.toBe(before.producerId);
});

it.each([
  ['an id without epoch', { producerId: 5 }, errorCodes.INVALID_REQUEST],
  ['an epoch without id', { producerEpoch: 5 }, errorCodes.INVALID_REQUEST],
  ['an empty transactional id', { transactionalId: '' }, errorCodes.INVALID_REQUEST],
  [
    'no time for transactions',
    { transactionalId: 'tx', transactionTimeoutMs: 0 },
    errorCodes.INVALID_TRANSACTION_TIMEOUT,
  ],
])('refuses %s', async (_, request, errorCode) => {
  expect(await init(4, request)).toMatchObject({ errorCode, producerId: -1, producerEpoch: -1 });
});
