/**
 * An instance of an application that answers checks, as a process of its own, to be killed. It has no database: it asks the process that
 * started it, by message, what became of a transaction.
 */
import { Kafka, logLevel } from 'kafkajs';
import { checkLocal, type Verdict } from '../../src/kafkajs/index.ts';

const [bootstrap, producerGroup] = process.argv.slice(2);
const kafka = new Kafka({
  brokers: [bootstrap!],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 1000 },
});
const waiting = new Map<string, (verdict: Verdict) => void>();
process.on('message', ({ txnId, verdict }: { txnId: string; verdict: Verdict }) => {
  waiting.get(txnId)?.(verdict);
  waiting.delete(txnId);
});
process.on('disconnect', () => process.exit(0));
await checkLocal(
  kafka,
  {
    producerGroup: producerGroup!,
    consumer: { sessionTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 100 },
  },
  ({ txnId, times }) =>
    new Promise((resolve) => {
      waiting.set(txnId, resolve);
      process.send!({ txnId, times });
    }),
);
process.send!({ ready: true });
