/** `odradek/kafkajs`: what a kafkajs application writes in one line that the broker can and Kafka cannot. */
export { type DelayOptions, delay } from './delay.ts';
export {
  type Check,
  type CheckAnswerer,
  type CheckOptions,
  checkLocal,
  decide,
  executeLocal,
  isRefusal,
  type LocalResult,
  type LocalTransaction,
  type Verdict,
} from './half-messages.ts';
export {
  consumeWithRetries,
  deadLetter,
  deadLetterTopicOf,
  type FailedMessage,
  type FailureOptions,
  type Failures,
  failuresOf,
  type RetryingConsumer,
  type RetryingOptions,
  type RetryingPayload,
  type RetryOptions,
  retryLater,
  retryTopicOf,
  type Sender,
} from './retries.ts';
