/**
 * An instance of an application that sends half messages, as a process of its own, to be killed. Its database is the process that started
 * it, which hears of each step by message: it answers how the local transaction ended, or kills.
 */
import { Kafka, logLevel } from 'kafkajs';
import { executeLocal, type LocalResult, type Verdict } from '../../src/kafkajs/index.ts';

/** From the parent: a transfer to make, or how the local transaction of the one under way ended. */
export type ToProducer =
  | { readonly txnId: string; readonly partition: number }
  | { readonly verdict: Verdict };
/** To the parent: about to send; the half message is kept, how did it end?; all is said (or refused: why). */
export type FromProducer = {
  readonly step: 'ready' | 'sending' | 'sent' | 'done';
  readonly refused?: string;
};

const [bootstrap, topic, producerGroup] = process.argv.slice(2);
const kafka = new Kafka({
  brokers: [bootstrap!],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 1000 },
});
const producer = kafka.producer();
const say = (message: FromProducer): void => void process.send!(message);
let answer: ((verdict: Verdict) => void) | undefined;

async function transfer(txnId: string, partition: number): Promise<void> {
  say({ step: 'sending' });
  try {
    await executeLocal(
      producer,
      { topic: topic!, producerGroup: producerGroup!, txnId, message: { partition, value: txnId } },
      () =>
        new Promise<LocalResult<undefined>>((resolve) => {
          answer = (verdict) => resolve({ verdict, result: undefined });
          say({ step: 'sent' });
        }),
    );
    say({ step: 'done' });
  } catch (error) {
    say({ step: 'done', refused: String(error) });
  }
}

process.on('message', (message: ToProducer) => {
  if ('verdict' in message) answer?.(message.verdict);
  else void transfer(message.txnId, message.partition);
});
process.on('disconnect', () => process.exit(0));
await producer.connect();
say({ step: 'ready' });
