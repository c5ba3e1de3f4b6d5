/** The differences from Kafka that are meant, each with its reason. Everything else counts as failed. */
import type { Plain } from './plain.ts';

export interface AllowedDifference {
  /** Of which API; of all where absent. */
  readonly api?: string;
  /** In versions below this one only. */
  readonly before?: number;
  /** Matches the path of the field. */
  readonly path: RegExp;
  /** Matches `scenario / label`. */
  readonly label?: RegExp;
  readonly holds?: (ours: Plain | undefined, kafkas: Plain | undefined) => boolean;
  readonly why: string;
}

const isSilence = (_ours: Plain | undefined, kafkas: Plain | undefined) => kafkas === null;
const generalWords = /^This most likely occurs because of a request being malformed/;

export const allowedDifferences: readonly AllowedDifference[] = [
  {
    api: 'Produce',
    path: /\.errorMessage$/,
    holds: isSilence,
    why: 'we say what is wrong with a batch where Kafka gives its error code alone',
  },
  {
    api: 'Produce',
    path: /errorCode$/,
    label: /codec [57]$/,
    holds: (ours, kafkas) => ours === 76 && kafkas === -1,
    why: 'an unknown codec is UNSUPPORTED_COMPRESSION_TYPE; Kafka fails with UNKNOWN_SERVER_ERROR',
  },
  {
    api: 'Produce',
    path: /partitionResponses/,
    label: /one partition twice$/,
    why: 'a partition that one request names twice is appended to twice; Kafka keeps only the last',
  },
  {
    api: 'Fetch',
    path: /partitions\.length$/,
    label: /the same twice$/,
    why: 'a partition that one request names twice is answered twice; Kafka keeps only the last',
  },
  {
    api: 'Fetch',
    path: /^(errorCode|responses)/,
    label: /(a negative limit|isolation level 7)$/,
    why: 'nonsense that Kafka fails on with UNKNOWN_SERVER_ERROR is taken for 0',
  },
  {
    api: 'Fetch',
    path: /trailingBytes$/,
    label: /second batch$/,
    holds: (ours) => ours === 0,
    why: 'batches are sent whole; Kafka cuts the last one off at the limit, for clients to throw away',
  },
  {
    api: 'Fetch',
    path: /responses/,
    label: /two partitions$/,
    before: 10,
    why: 'zstd is for version 10 and above, as its KIP says; Kafka 4 no longer looks',
  },
  {
    api: 'Metadata',
    path: /errorCode$/,
    label: /neither$/,
    why: 'neither name nor id is INVALID_REQUEST; Kafka fails with UNKNOWN_SERVER_ERROR',
  },
  {
    api: 'Metadata',
    path: /topics/,
    label: /operations of an unknown one$/,
    why: 'versions before 4 create what is missing, here with a leader in the same answer',
  },
  {
    path: /errorMessage$/,
    holds: (_ours, kafkas) => typeof kafkas === 'string' && generalWords.test(kafkas),
    why: 'we name what is wrong where Kafka has general words',
  },
  {
    api: 'DescribeConfigs',
    path: /\.documentation$/,
    holds: (ours, kafkas) => typeof ours === 'string' && ours !== '' && typeof kafkas === 'string',
    why: 'the words are our own',
  },
  {
    path: /\[min\.insync\.replicas\]/,
    why: 'Kafka sets it for all brokers by itself, for eligible leader replicas',
  },
  {
    api: 'DescribeConfigs',
    path: /\[(group\.initial\.rebalance\.delay\.ms|node\.id)\]/,
    label: /the broker$/,
    why: 'our defaults are for one node: no delay, and a node id',
  },
  {
    api: 'IncrementalAlterConfigs',
    path: /error(Code|Message)$/,
    label: /operation (9|-1)/,
    why: 'an unknown operation is INVALID_REQUEST; Kafka fails with UNKNOWN_SERVER_ERROR',
  },
  {
    api: 'DescribeLogDirs',
    path: /(usable|total)Bytes$/,
    why: 'it changes from one moment to the next',
  },
  {
    path: /configs\[(max\.decompressed\.message\.bytes|errors\.deadletterqueue\.group\.enable|remote\.copy\.lag\.(ms|bytes))\]$/,
    holds: (_ours, kafkas) => kafkas === undefined,
    why: 'settings of Kafka 4.4',
  },
  {
    api: 'Produce',
    path: /\.logStartOffset$/,
    holds: (ours, kafkas) => ours === -1 && kafkas === 0,
    why: 'told with success only; clients read it nowhere else but beside UNKNOWN_PRODUCER_ID',
  },
  {
    api: 'Produce',
    path: /partitionResponses/,
    label: /produce what is wrong inside/,
    why: 'batches are checked by header and checksum and not opened',
  },
  {
    api: 'Produce',
    path: /partitionResponses/,
    label: /epoch -2$/,
    why: 'no client has such an epoch; Kafka finds it smaller than none',
  },
  {
    api: 'Fetch',
    path: /^sessionId$/,
    label: /opened without partitions$/,
    holds: (ours) => ours === 0,
    why: 'a session of nothing is not kept, as KIP-227 lets a broker choose',
  },
  {
    api: 'OffsetForLeaderEpoch',
    path: /(leaderEpoch|endOffset)$/,
    label: /of -5$/,
    why: 'every epoch below 0 is none',
  },
  {
    api: 'DescribeConfigs',
    path: /configs\.length$/,
    label: /all brokers$/,
    holds: (ours, kafkas) =>
      Array.isArray(ours) && ours.length === 0 && JSON.stringify(kafkas).includes('min.insync.replicas'),
    why: 'Kafka sets min.insync.replicas for all brokers by itself, for eligible leader replicas',
  },
  {
    api: 'DescribeQuorum',
    path: /(leaderEpoch|highWatermark|logEndOffset)$/,
    label: /metadata$/,
    holds: (ours) => ours === '<epoch>' || (typeof ours === 'number' && ours > 0),
    why: 'each has its own count of changes to the metadata',
  },
  {
    api: 'DescribeQuorum',
    path: /listeners/,
    why: 'there is no listener of its own for controllers',
  },
  {
    api: 'AlterPartitionReassignments',
    path: /^errorMessage$/,
    label: /nothing$/,
    holds: (ours, kafkas) => ours === null && kafkas === '',
    why: 'no error has no message',
  },
  {
    api: 'CreateTopics',
    path: /\.errorMessage$/,
    holds: (ours, kafkas) =>
      kafkas === `${String(ours).slice(0, -1)} or some brokers have all their log directories cordoned.`,
    why: 'there are no cordoned directories',
  },
  {
    api: 'JoinGroup',
    path: /./,
    label: /names a protocol twice$/,
    why: 'the same protocol twice is taken for one; Kafka fails with UNKNOWN_SERVER_ERROR',
  },
  {
    path: /^answer$/,
    label: /malformed requests .* ApiVersions v/,
    holds: (ours, kafkas) => ours === `${String(kafkas).slice(0, -1)}5`,
    why: 'ApiVersions 5 is of Kafka 4.4',
  },
  {
    api: 'DescribeTransactions',
    path: /\.partitions\[/,
    why: 'the partitions of a transaction are a set, and have no order',
  },
  {
    api: 'Produce',
    path: /errorCode$/,
    label: /of no transaction$/,
    holds: (ours, kafkas) => ours === 48 && kafkas === 45,
    why: 'whether a batch is of the open transaction is looked at before its sequence',
  },
  {
    api: 'TxnOffsetCommit',
    path: /errorCode$/,
    label: /an empty id$/,
    holds: (ours, kafkas) => ours === 42 && kafkas === 0,
    why: 'Kafka keeps offsets of no transactional id as pending, without a look at their transaction',
  },
  {
    api: 'DescribeProducers',
    path: /(coordinatorEpoch|lastTimestamp)$/,
    why: 'the epoch is that of the coordinator of what is open; markers are no records, and do not count as a last one',
  },
  {
    api: 'Fetch',
    path: /\.crc$/,
    label: /^transactions/,
    why: "a marker's checksum covers the moment in which it was written",
  },
];
