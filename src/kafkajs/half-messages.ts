/**
 * Half messages with kafkajs: a message that is delivered if, and only if, a local transaction was committed. The broker asks when it is
 * not told, so neither a crash between the two nor a lost answer makes them differ.
 */
import { randomUUID } from 'node:crypto';
import { type IHeaders, type Kafka, KafkaJSProtocolError, type Message, type Producer } from 'kafkajs';
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
import { headerText, withHeaders } from './headers.ts';

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
}

export interface LocalResult<Result> {
  readonly verdict: Verdict;
  readonly result: Result;
}

/**
 * Sends the message as a half message, runs the local transaction and tells the broker how it ended. `run` gets the transaction id, which
 * belongs into the local transaction (a row of its own table, say), for `checkLocal` to find. Where `run` throws nothing is decided, since a
 * commit may have happened: the error is thrown on, and the broker asks.
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
  await decide(producer, producerGroup, txnId, verdict);
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
}

export interface CheckOptions {
  readonly producerGroup: string;
  /** Errors of `check`, and answers that came too late. The broker asks again. */
  readonly onError?: (error: unknown, check: Check) => void;
}

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
  { producerGroup, onError }: CheckOptions,
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
  const consumer = kafka.consumer({ groupId: producerGroup });
  await producer.connect();
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message }) => {
      const asked = checkOf(message.key, message.value, message.headers ?? {});
      try {
        await decide(producer, producerGroup, asked.txnId, await check(asked));
      } catch (error) {
        // Decided meanwhile, the same way or another: there is nothing left to say.
        if (!(isRefusal(error) && onError === undefined)) onError?.(error, asked);
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
  const own = new Set<string>(Object.values(checkHeaders));
  const realKey = headers[checkHeaders.realKey];
  const number = (name: string): number => Number(headerText(headers, name) ?? Number.NaN);
  return {
    txnId: txnId?.toString() ?? '',
    times: number(checkHeaders.checkTimes),
    topic: headerText(headers, checkHeaders.realTopic) ?? '',
    partition: number(checkHeaders.realPartition),
    bornMs: number(checkHeaders.bornMs),
    key: realKey === undefined ? null : Buffer.from(Array.isArray(realKey) ? realKey[0]! : realKey),
    value,
    headers: Object.fromEntries(Object.entries(headers).filter(([name]) => !own.has(name))),
  };
}

/** INVALID_RECORD: the broker knows no such half message, or another decision about it. */
export function isRefusal(error: unknown): boolean {
  return error instanceof KafkaJSProtocolError && error.type === 'INVALID_RECORD';
}
