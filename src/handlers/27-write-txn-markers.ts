/**
 * WriteTxnMarkers, versions 1 and 2 (0 is gone from Kafka 4): ends a producer's transaction in the partitions named. Brokers send it
 * to each other in Kafka; here it comes from operators alone (AdminClient.abortTransaction, kafka-transactions.sh abort). 1: flexible;
 * 2: transaction.version.
 */
import {
  type WriteTxnMarkersRequest,
  type WriteTxnMarkersResponseInput,
  writeTxnMarkersRequest,
  writeTxnMarkersResponse,
} from '../../protocol/generated/27-write-txn-markers.ts';
import type { TransactionCoordinator } from '../services/transactions/transaction-coordinator.ts';
import { defineHandler } from './handler.ts';
import { producerOf } from './transaction-producers.ts';

export interface WriteTxnMarkersServices {
  readonly transactions: Pick<TransactionCoordinator, 'writeMarker'>;
}

export function writeTxnMarkersHandler({ transactions }: WriteTxnMarkersServices) {
  return defineHandler<WriteTxnMarkersRequest, WriteTxnMarkersResponseInput>({
    apiKey: 27,
    minVersion: 1,
    maxVersion: 2,
    request: writeTxnMarkersRequest,
    response: writeTxnMarkersResponse,
    async handle(request) {
      const markers = request.markers.map(async (marker) => {
        const written = {
          ...producerOf(marker),
          isCommit: marker.transactionResult,
          coordinatorEpoch: marker.coordinatorEpoch,
        };
        const topics = marker.topics.map(async ({ name, partitionIndexes }) => ({
          name,
          partitions: await Promise.all(
            partitionIndexes.map(async (partitionIndex) => ({
              partitionIndex,
              errorCode: await transactions.writeMarker(name, partitionIndex, written),
            })),
          ),
        }));
        return { producerId: marker.producerId, topics: await Promise.all(topics) };
      });
      return { markers: await Promise.all(markers) };
    },
    fail: (request, errorCode) => ({
      markers: request.markers.map(({ producerId, topics }) => ({
        producerId,
        topics: topics.map(({ name, partitionIndexes }) => ({
          name,
          partitions: partitionIndexes.map((partitionIndex) => ({ partitionIndex, errorCode })),
        })),
      })),
    }),
  });
}
