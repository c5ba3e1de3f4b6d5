/**
 * The application: transfers money between two accounts in PostgreSQL and tells of it in the topic `transfers`, both or neither.
 *
 *   node transfer.mjs BROKER DATABASE transfer TXN FROM TO AMOUNT [STEP]   STEP: where it kills itself, for the tests
 *   node transfer.mjs BROKER DATABASE check                                 answers the broker's checks until it is killed
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel } from 'kafkajs';
import { checkLocal, executeLocal } from 'odradek/kafkajs';

const { Pool } = createRequire(join(process.env.PG_MODULES, 'package.json'))('pg');
const [broker, database, command, txn, from, to, amount, step] = process.argv.slice(2);
const kafka = new Kafka({
  brokers: [broker],
  logLevel: logLevel.NOTHING,
  retry: { retries: 20, maxRetryTime: 500 },
});
const pool = new Pool({ connectionString: database });
const producerGroup = 'bank';

const dieAt = (here) => {
  if (step === here) process.kill(process.pid, 'SIGKILL');
};

/**
 * The transaction id is a row of the local transaction: whoever writes it first has decided. Where it is there already, a check came
 * first and was answered with rollback.
 */
async function transfer(txnId) {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query("INSERT INTO outcomes VALUES ($1, 'commit')", [txnId]);
    await client.query('UPDATE accounts SET balance = balance - $2 WHERE id = $1', [from, amount]);
    await client.query('UPDATE accounts SET balance = balance + $2 WHERE id = $1', [to, amount]);
    if (step === 'slow') await sleep(3000);
    dieAt('before-commit');
    await client.query('COMMIT');
    return 'commit';
  } catch (error) {
    await client.query('ROLLBACK');
    // 23: a rule of the database speaks against it; anything else may have been committed, and is left to the check.
    if (!String(error.code).startsWith('23')) throw error;
    return 'rollback';
  } finally {
    client.release();
  }
}

/** Waits for a local transaction that is under way: two cannot write the same row. From then on the answer is always the same. */
async function outcomeOf(txnId) {
  await pool.query("INSERT INTO outcomes VALUES ($1, 'rollback') ON CONFLICT (txn_id) DO NOTHING", [txnId]);
  const { rows } = await pool.query('SELECT verdict FROM outcomes WHERE txn_id = $1', [txnId]);
  return rows[0].verdict;
}

if (command === 'check') {
  await checkLocal(kafka, { producerGroup, consumer: { sessionTimeout: 6000 } }, ({ txnId }) =>
    outcomeOf(txnId),
  );
  process.stdout.write('ready\n');
} else {
  const producer = kafka.producer();
  await producer.connect();
  const message = { key: from, value: JSON.stringify({ txn, from, to, amount: Number(amount) }) };
  const verdict = await executeLocal(
    producer,
    { topic: 'transfers', message, producerGroup, txnId: txn },
    async (txnId) => {
      dieAt('before-local');
      const verdict = await transfer(txnId);
      dieAt('before-decision');
      return { verdict, result: verdict };
    },
  );
  process.stdout.write(`${verdict}\n`);
  await producer.disconnect();
  await pool.end();
}
