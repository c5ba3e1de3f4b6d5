// Measures what decoding and encoding cost for the messages that a broker sees most: microseconds a message, best of several rounds.
// Usage: node scripts/run-ts.mjs protocol/tools/measure-codec.ts

import { produceRequest, produceResponse } from '../generated/00-produce.ts';
import { fetchRequest, fetchResponse } from '../generated/01-fetch.ts';
import { metadataRequest, metadataResponse } from '../generated/03-metadata.ts';
import { offsetCommitRequest } from '../generated/08-offset-commit.ts';
import { encodeResponseFrame } from '../headers.ts';
import { encodeToBuffer, type MessageCodec } from '../message-codec.ts';
import { ByteReader } from '../wire/byte-reader.ts';

const ROUNDS = 7;
const ROUND_MS = 150;

/** Microseconds a call, the best round's. */
function measure(run: () => unknown): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round += 1) {
    let calls = 0;
    const start = process.hrtime.bigint();
    const end = start + BigInt(ROUND_MS) * 1_000_000n;
    let now = start;
    while (now < end) {
      for (let i = 0; i < 200; i += 1) run();
      calls += 200;
      now = process.hrtime.bigint();
    }
    best = Math.min(best, Number(now - start) / 1000 / calls);
  }
  return best;
}

function report<T, I>(what: string, codec: MessageCodec<T, I>, version: number, input: I): void {
  const bytes = encodeToBuffer(codec, input, version);
  const decode = measure(() => codec.decode(new ByteReader(bytes), version));
  const encode = measure(() => encodeResponseFrame(codec, input, version, 1));
  console.log(
    `${what.padEnd(44)} ${String(bytes.length).padStart(7)} bytes  decode ${decode.toFixed(2)} us  encode ${encode.toFixed(2)} us`,
  );
}

const records = Buffer.alloc(1024, 7);
const smallRecords = Buffer.alloc(300, 7);
const big = Buffer.alloc(100_000, 7);

for (const version of [7, 9, 13]) {
  report(`Produce v${version} request, 1 KiB of records`, produceRequest, version, {
    acks: 1,
    timeoutMs: 30_000,
    topicData: [
      {
        ...(version >= 13 ? { topicId: 'vaCCNZsbTNIin3n3oFPOVA' } : { name: 'orders' }),
        partitionData: [{ index: 3, records }],
      },
    ],
  });
  report(`Produce v${version} response`, produceResponse, version, {
    responses: [
      {
        ...(version >= 13 ? { topicId: 'vaCCNZsbTNIin3n3oFPOVA' } : { name: 'orders' }),
        partitionResponses: [
          { index: 3, errorCode: 0, baseOffset: 123456, logAppendTimeMs: -1, logStartOffset: 0 },
        ],
      },
    ],
  });
}
for (const version of [11, 12]) {
  report(`Fetch v${version} request, 4 partitions`, fetchRequest, version, {
    maxWaitMs: 500,
    minBytes: 1,
    maxBytes: 52_428_800,
    topics: [
      {
        topic: 'orders',
        partitions: [0, 1, 2, 3].map((partition) => ({
          partition,
          fetchOffset: 1000 + partition,
          partitionMaxBytes: 1_048_576,
        })),
      },
    ],
    forgottenTopicsData: [],
  });
  report(`Fetch v${version} response, 4 partitions of 100 kB`, fetchResponse, version, {
    throttleTimeMs: 0,
    errorCode: 0,
    sessionId: 0,
    responses: [
      {
        topic: 'orders',
        partitions: [0, 1, 2, 3].map((partitionIndex) => ({
          partitionIndex,
          errorCode: 0,
          highWatermark: 5000,
          lastStableOffset: 5000,
          logStartOffset: 0,
          abortedTransactions: null,
          records: big,
        })),
      },
    ],
  });
}
report('Fetch v11 response, 4 partitions of 300 B', fetchResponse, 11, {
  throttleTimeMs: 0,
  errorCode: 0,
  sessionId: 0,
  responses: [
    {
      topic: 'orders',
      partitions: [0, 1, 2, 3].map((partitionIndex) => ({
        partitionIndex,
        errorCode: 0,
        highWatermark: 5000,
        lastStableOffset: 5000,
        logStartOffset: 0,
        abortedTransactions: null,
        records: smallRecords,
      })),
    },
  ],
});
report('OffsetCommit v8 request, 4 partitions', offsetCommitRequest, 8, {
  groupId: 'billing',
  generationIdOrMemberEpoch: 4,
  memberId: 'consumer-billing-1-0f8fad5b-d9cb-469f-a165-70867728950e',
  topics: [
    {
      name: 'orders',
      partitions: [0, 1, 2, 3].map((partitionIndex) => ({
        partitionIndex,
        committedOffset: 1234,
        committedMetadata: '',
      })),
    },
  ],
});
report('Metadata v12 request, 1 topic', metadataRequest, 12, {
  topics: [{ name: 'orders' }],
  allowAutoTopicCreation: true,
});
report('Metadata v12 response, 100 partitions', metadataResponse, 12, {
  throttleTimeMs: 0,
  brokers: [{ nodeId: 1, host: 'localhost', port: 9092, rack: null }],
  clusterId: 'vaCCNZsbTNIin3n3oFPOVA',
  controllerId: 1,
  topics: [
    {
      errorCode: 0,
      name: 'orders',
      topicId: 'vaCCNZsbTNIin3n3oFPOVA',
      isInternal: false,
      partitions: Array.from({ length: 100 }, (_, partitionIndex) => ({
        errorCode: 0,
        partitionIndex,
        leaderId: 1,
        leaderEpoch: 0,
        replicaNodes: [1],
        isrNodes: [1],
        offlineReplicas: [],
      })),
    },
  ],
});
