/** Reads committed records as clients do: by the broker's last stable offset and its list of aborted transactions. */
import { errorCodes, errorName } from '../../protocol/error-codes.ts';
import { fetchRequest, fetchResponse } from '../../protocol/generated/01-fetch.ts';
import { decodeRecordSet } from '../../protocol/records/record-set.ts';
import type { SeenRecord } from './history.ts';
import type { PatientClient, Place } from './transactional-client.ts';

export interface CommittedRead {
  readonly records: readonly SeenRecord[];
  readonly nextPosition: number;
  readonly lastStableOffset: number;
  readonly highWatermark: number;
}

const readCommitted = 1;

export async function readCommittedFrom(
  client: PatientClient,
  { topic, index }: Place,
  position: number,
  maxBytes = 1_000_000,
): Promise<CommittedRead> {
  const answer = await client.ask(
    (connection) =>
      connection.request(fetchRequest, fetchResponse, 11, {
        maxWaitMs: 0,
        minBytes: 0,
        maxBytes,
        isolationLevel: readCommitted,
        sessionEpoch: -1,
        topics: [
          { topic, partitions: [{ partition: index, fetchOffset: position, partitionMaxBytes: maxBytes }] },
        ],
      }),
    ({ errorCode, responses }) => errorCode || responses[0]!.partitions[0]!.errorCode,
  );
  const partition = answer.responses[0]!.partitions[0]!;
  if (partition.errorCode !== errorCodes.NONE) {
    throw new Error(`fetch of ${topic}-${index} from ${position}: ${errorName(partition.errorCode)}`);
  }
  const aborted = [...(partition.abortedTransactions ?? [])].sort(
    (a, b) => Number(a.firstOffset) - Number(b.firstOffset),
  );
  const abortedProducers = new Set<number>();
  const records: SeenRecord[] = [];
  let nextPosition = position;
  for (const batch of decodeRecordSet(partition.records ?? Buffer.alloc(0)).batches) {
    while (aborted.length > 0 && Number(aborted[0]!.firstOffset) <= Number(batch.lastOffset)) {
      abortedProducers.add(Number(aborted.shift()!.producerId));
    }
    const producerId = Number(batch.producerId);
    nextPosition = Number(batch.lastOffset) + 1;
    if (batch.control) {
      abortedProducers.delete(producerId);
      continue;
    }
    if (batch.transactional && abortedProducers.has(producerId)) continue;
    for (const { offset, value } of batch.records) {
      if (Number(offset) < position) continue;
      records.push({ offset: Number(offset), value: Number(value?.toString()) });
    }
  }
  return {
    records,
    nextPosition,
    lastStableOffset: Number(partition.lastStableOffset),
    highWatermark: Number(partition.highWatermark),
  };
}
