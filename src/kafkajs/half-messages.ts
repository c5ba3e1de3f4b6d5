/**
 * Half messages with kafkajs: a message that is delivered if, and only if, a local transaction was committed. The broker asks when it is
 * not told, so neither a crash between the two nor a lost answer makes them differ.
 */
import { randomUUID } from 'node:crypto';
import type { ConsumerConfig, IHeaders, Kafka, KafkaMessage, Message, Producer } from 'kafkajs';
import {
  checkHeaders,
  halfValue,
  immunityHeader,
  producerGroupHeader,
  txnActionHeader,
  txnHeader,
  txnIdHeader,
  type Verdict,
} from '../services/features/half-message/half-headers.ts';
import { checkTopicOf, operationTopicOf } from '../services/features/half-message/half-topic-names.ts';
import { withHeaders } from './headers.ts';

export type { Verdict } from '../services/features/half-message/half-headers.ts';

export interface LocalTransaction {
  readonly topic: string;
  readonly message: Message;
  /** All instances of one application have the same. */
  readonly producerGroup: string;
  /** Names the transaction in the group: a random one where it is left out. */
  readonly txnId?: string;
  /** How long the broker waits before it asks; by default the group's rmq.txn.timeout.ms, 6 s. */
  readonly immunityMs?: number;
  /** The local transaction ended, and the broker could not be told: it will ask. Errors of the network, not refusals. */
  readonly onUntold?: (error: unknown, txnId: string) => void;
}

export interface LocalResult<Result> {
  readonly verdict: Verdict;
  readonly result: Result;
}

/**
 * Sends the message as a half message, runs the local transaction and tells the broker how it ended. `run` gets the transaction id, which
 * belongs into the local transaction (a row of its own table, say), for `checkLocal` to find. Where `run` throws nothing is decided, since a
 * commit may have happened: the error is thrown on, and the broker asks. Where the broker cannot be told the result stands, and the broker
 * asks. Rejects where the message is not kept (nothing was run), and where the broker refuses the verdict, since it was decided otherwise
 * meanwhile (`isRefusal`).
 */
export async function executeLocal<Result>(
  producer: Producer,
  transaction: LocalTransaction,
  run: (txnId: string) => Promise<LocalResult<Result>>,
): Promise<Result> {
  const { topic, message, producerGroup, immunityMs } = transaction;
  const txnId = transaction.txnId ?? randomUUID();
  const half = withHeaders(message, {
    [txnHeader]: halfValue,
    [txnIdHeader]: txnId,
    [producerGroupHeader]: producerGroup,
    ...(immunityMs === undefined ? {} : { [immunityHeader]: String(immunityMs) }),
  });
  await producer.send({ topic, acks: -1, messages: [half] });
  const { verdict, result } = await run(txnId);
  try {
    await decide(producer, producerGroup, txnId, verdict);
  } catch (error) {
    if (isRefusal(error)) throw error;
    transaction.onUntold?.(error, txnId);
  }
  return result;
}

/** Tells the broker how a local transaction ended. The same again is no error; another than before is (INVALID_RECORD). */
export async function decide(
  producer: Producer,
  producerGroup: string,
  txnId: string,
  verdict: Verdict,
): Promise<void> {
  const message = { key: txnId, value: null, headers: { [txnActionHeader]: verdict } };
  await producer.send({ topic: operationTopicOf(producerGroup), acks: -1, messages: [message] });
}

/** What the broker asks about. */
export interface Check {
  readonly txnId: string;
  /** From 1 up. */
  readonly times: number;
  readonly topic: string;
  readonly partition: number;
  /** When the broker took the half message; milliseconds since 1970. */
  readonly bornMs: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: IHeaders;
  /** A Kafka transaction is asked about (rmq.txn.timeout.action=check), not a half message: topic is empty, partition NaN, key and value null. */
  readonly transaction?: {
    readonly transactionalId: string;
    readonly producerId: string;
    readonly producerEpoch: number;
  };
}

export interface CheckOptions {
  readonly producerGroup: string;
  /** Of the consumer that reads the checks: its session timeout, say. */
  readonly consumer?: Omit<ConsumerConfig, 'groupId'>;
  /** Errors of `check`, and answers that came too late. The broker asks again. */
  readonly onError?: (error: unknown, check: Check) => void;
}

/** Checks of a partition that are looked into and answered at the same time. */
const answersAtOnce = 32;

/** Answers checks until it is stopped. */
export interface CheckAnswerer {
  stop(): Promise<void>;
}

/**
 * Answers the broker's checks of a producer group; one instance of the application gets each. `check` looks whether the local
 * transaction was committed; where it cannot know yet it says unknown, and is asked again.
 */
export async function checkLocal(
  kafka: Kafka,
  { producerGroup, consumer: settings, onError }: CheckOptions,
  check: (asked: Check) => Promise<Verdict>,
): Promise<CheckAnswerer> {
  const topic = checkTopicOf(producerGroup);
  const admin = kafka.admin();
  await admin.connect();
  try {
    // The broker makes it with the first half message of the group, which may come after us.
    if (!(await admin.listTopics()).includes(topic)) {
      await admin.createTopics({
        topics: [{ topic, configEntries: [{ name: 'retention.ms', value: '3600000' }] }],
      });
    }
  } finally {
    await admin.disconnect();
  }
  const producer = kafka.producer();
  const consumer = kafka.consumer({ ...settings, groupId: producerGroup });
  await producer.connect();
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  const answer = async (asked: Check): Promise<void> => {
    try {
      await decide(producer, producerGroup, asked.txnId, await check(asked));
    } catch (error) {
      onError?.(error, asked);
    }
  };
  await consumer.run({
    eachBatch: async ({ batch, heartbeat, resolveOffset, isRunning, isStale }) => {
      // After an absence there may be several of one transaction: the last of them is answered.
      const newest = new Map(batch.messages.map(({ key, offset }) => [key?.toString('latin1'), offset]));
      const isNewest = ({ key, offset }: KafkaMessage) => newest.get(key?.toString('latin1')) === offset;
      for (let at = 0; at < batch.messages.length && isRunning() && !isStale(); at += answersAtOnce) {
        const some = batch.messages.slice(at, at + answersAtOnce);
        await Promise.all(
          some.filter(isNewest).map(({ key, value, headers }) => answer(checkOf(key, value, headers ?? {}))),
        );
        resolveOffset(some.at(-1)!.offset);
        await heartbeat();
      }
    },
  });
  return {
    async stop() {
      await consumer.disconnect();
      await producer.disconnect();
    },
  };
}

function checkOf(txnId: Buffer | null, value: Buffer | null, headers: IHeaders): Check {
  const own: IHeaders = { ...headers };
  const said = new Map<string, Buffer | string>();
  for (const name of Object.values(checkHeaders)) {
    // The broker's stands behind those of the same name that a forwarded message brought.
    const all = [headers[name] ?? []].flat();
    const last = all.at(-1);
    if (last === undefined) continue;
    said.set(name, last);
    if (all.length === 1) delete own[name];
    else own[name] = all.length === 2 ? all[0] : all.slice(0, -1);
  }
  const number = (name: string): number => Number(said.get(name) ?? Number.NaN);
  const realKey = said.get(checkHeaders.realKey);
  const transactionalId = said.get(checkHeaders.transactionalId)?.toString();
  return {
    txnId: txnId?.toString() ?? '',
    times: number(checkHeaders.checkTimes),
    topic: said.get(checkHeaders.realTopic)?.toString() ?? '',
    partition: number(checkHeaders.realPartition),
    bornMs: number(checkHeaders.bornMs),
    key: realKey === undefined ? null : Buffer.from(realKey),
    value,
    headers: own,
    ...(transactionalId === undefined
      ? {}
      : {
          transaction: {
            transactionalId,
            producerId: said.get(checkHeaders.producerId)?.toString() ?? '',
            producerEpoch: number(checkHeaders.producerEpoch),
          },
        }),
  };
}

/** INVALID_RECORD: the broker knows no such half message, or another decision about it. */
export function isRefusal(error: unknown): boolean {
  // By name: kafkajs may be there twice, and its class is no named export to every loader.
  return error instanceof Error && 'type' in error && error.type === 'INVALID_RECORD';
}
