/**
 * Retries with kafkajs: a message whose processing failed comes again to its group, later and later, and ends in the group's dead letters.
 * The broker counts and waits; here is only told what failed.
 */
import type { ConsumerConfig, EachMessagePayload, IHeaders, Kafka, Message, Producer } from 'kafkajs';
import { featureTopicName } from '../services/features/feature-topics.ts';
import {
  errorHeader,
  errorValue,
  maxTimesHeader,
  originHeader,
  placeText,
  type RecordPlace,
  readPlace,
  retryActionHeader,
  retryDelayHeader,
  retryTopicHeader,
  timesHeader,
} from '../services/features/retry/retry-headers.ts';

/** A message as a consumer got it. */
export type FailedMessage = Pick<EachMessagePayload, 'topic' | 'partition'> & {
  readonly message: Pick<EachMessagePayload['message'], 'offset' | 'key'>;
};

/** A producer, or a transaction: then the broker is told by its commit, with the offsets that are sent in it. */
export type Sender = Pick<Producer, 'send'>;

export interface FailureOptions {
  /** The consumer's group, which has rmq.retry.enable. */
  readonly groupId: string;
  /** What went wrong: told to whoever gets the message next, and to who reads the dead letter. */
  readonly error?: unknown;
  /** rmq.retry.topic of the group, where it has one. */
  readonly retryTopic?: string;
}

export interface RetryOptions extends FailureOptions {
  /** In place of the group's schedule. */
  readonly delayMs?: number;
}

/** What the broker says of the failures of a message that comes again. */
export interface Failures {
  /** How often it has failed, 1 at its first retry, and how often it may. */
  readonly times: number;
  readonly maxTimes: number;
  /** Where it was before any retry; undefined where whoever sent it to the retry topic did not say. */
  readonly topic: string | undefined;
  readonly origin: RecordPlace | undefined;
  readonly error: string | undefined;
}

export const retryTopicOf = (groupId: string): string => featureTopicName('retry.', groupId);
export const deadLetterTopicOf = (groupId: string): string => featureTopicName('dlq.', groupId);

/** The message comes again to the group later. Resolves when the broker has it; commit the offset then. The same again does nothing. */
export async function retryLater(
  sender: Sender,
  failed: FailedMessage,
  options: RetryOptions,
): Promise<void> {
  const { delayMs } = options;
  if (delayMs !== undefined && (!Number.isSafeInteger(delayMs) || delayMs < 0)) {
    throw new RangeError(`delayMs must be a whole number of milliseconds, not ${delayMs}`);
  }
  await tell(sender, failed, options, delayMs === undefined ? {} : { [retryDelayHeader]: String(delayMs) });
}

/** The message becomes a dead letter of the group now. */
export async function deadLetter(
  sender: Sender,
  failed: FailedMessage,
  options: FailureOptions,
): Promise<void> {
  await tell(sender, failed, options, { [retryActionHeader]: 'dlq' });
}

async function tell(
  sender: Sender,
  { topic, partition, message: { offset, key } }: FailedMessage,
  { groupId, error, retryTopic }: FailureOptions,
  asked: Readonly<Record<string, string>>,
): Promise<void> {
  const headers: NonNullable<Message['headers']> = {
    [originHeader]: placeText({ topic, partition, offset: Number(offset) }),
    ...asked,
  };
  if (error !== undefined) headers[errorHeader] = errorValue(errorText(error));
  // Where the message lies and nothing of it: the broker takes it from there.
  const messages = [{ key, value: null, headers }];
  await sender.send({ topic: retryTopic ?? retryTopicOf(groupId), acks: -1, messages });
}

function errorText(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** Undefined for a message that is no retry. */
export function failuresOf(headers: IHeaders | undefined): Failures | undefined {
  const said = (name: string): string | undefined => [headers?.[name] ?? []].flat().at(-1)?.toString();
  const times = said(timesHeader);
  if (times === undefined) return undefined;
  const origin = said(originHeader);
  return {
    times: Number(times),
    maxTimes: Number(said(maxTimesHeader) ?? Number.NaN),
    topic: said(retryTopicHeader),
    origin: origin === undefined ? undefined : readPlace(Buffer.from(origin)),
    error: said(errorHeader),
  };
}

export interface RetryingOptions {
  /** Its rmq.retry.enable must be true. */
  readonly groupId: string;
  readonly topics: readonly string[];
  readonly fromBeginning?: boolean;
  /** Everything else of the consumer. */
  readonly consumer?: Omit<ConsumerConfig, 'groupId'>;
  /** Messages processed at the same time, each of another partition; 1 unless given. */
  readonly partitionsConsumedConcurrently?: number;
  /** rmq.retry.topic of the group, where it has one. */
  readonly retryTopic?: string;
  /** Errors that no retry will heal: the message is a dead letter at once. */
  readonly isFinal?: (error: unknown) => boolean;
  /** Told of every message that failed, once the broker has it. */
  readonly onFailure?: (error: unknown, failed: EachMessagePayload) => void;
}

export interface RetryingConsumer {
  stop(): Promise<void>;
}

/** What is processed: a message of one of the topics, or one of them again. Then `topic` is the first one, and `failures` is there. */
export interface RetryingPayload extends EachMessagePayload {
  readonly failures: Failures | undefined;
}

/**
 * Consumes the topics and the group's retries: where `eachMessage` throws the message comes again later, and the next one is
 * processed. A message counts as done when it was processed or the broker has its failure, so none is lost. Rejects where the group
 * has no retries.
 */
export async function consumeWithRetries(
  kafka: Kafka,
  options: RetryingOptions,
  eachMessage: (payload: RetryingPayload) => Promise<void>,
): Promise<RetryingConsumer> {
  const { groupId, topics, fromBeginning = false, isFinal, onFailure } = options;
  const retryTopic = options.retryTopic ?? retryTopicOf(groupId);
  await checkRetryTopic(kafka, groupId, retryTopic);
  const producer = kafka.producer();
  const consumer = kafka.consumer({ ...options.consumer, groupId });
  const stop = async (): Promise<void> => {
    await consumer.disconnect();
    await producer.disconnect();
  };
  try {
    await producer.connect();
    await consumer.connect();
    await consumer.subscribe({ topics: [...topics], fromBeginning });
    // A retry that was there before the consumer is none that it may skip.
    await consumer.subscribe({ topics: [retryTopic], fromBeginning: true });
    await consumer.run({
      partitionsConsumedConcurrently: options.partitionsConsumedConcurrently ?? 1,
      eachMessage: async (payload) => {
        const { topic, message } = payload;
        const failures = topic === retryTopic ? failuresOf(message.headers) : undefined;
        try {
          await eachMessage({ ...payload, topic: failures?.topic ?? topic, failures });
        } catch (error) {
          // What cannot be told is thrown: the message is not done then, and comes again by the consumer's own doing.
          await (isFinal?.(error) === true ? deadLetter : retryLater)(producer, payload, {
            groupId,
            error,
            retryTopic,
          });
          onFailure?.(error, payload);
        }
      },
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { stop };
}

const topicResource = 2;

/** Rejects where the topic is none of retries: what is produced there would lie there. */
async function checkRetryTopic(kafka: Kafka, groupId: string, topic: string): Promise<void> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const isThere = (await admin.listTopics()).includes(topic);
    // By its name it becomes what it shall be, where the group has retries by the broker's settings.
    if (!isThere) await admin.createTopics({ topics: [{ topic }] });
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: topicResource, name: topic, configNames: ['rmq.role'] }],
    });
    const role = resources[0]?.configEntries.find(({ configName }) => configName === 'rmq.role')?.configValue;
    if (role === 'retry') return;
    if (!isThere) await admin.deleteTopics({ topics: [topic] });
    throw new Error(`Group ${groupId} has no retries: set its rmq.retry.enable to true`);
  } finally {
    await admin.disconnect();
  }
}
