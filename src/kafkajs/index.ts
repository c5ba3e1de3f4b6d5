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
