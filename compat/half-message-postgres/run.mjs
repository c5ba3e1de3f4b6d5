/** What the application of transfer.mjs does, killed at every step; prints a line a check. */
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel } from 'kafkajs';

const { Pool } = createRequire(join(process.env.PG_MODULES, 'package.json'))('pg');
const [broker, database] = process.argv.slice(2);
const pool = new Pool({ connectionString: database });
const kafka = new Kafka({
  brokers: [broker],
  logLevel: logLevel.NOTHING,
  retry: { retries: 100, maxRetryTime: 500 },
});
const told = [];
const program = join(import.meta.dirname, 'transfer.mjs');
const isShort = process.env.COMPAT_FORM === 'short';

function start(...args) {
  const child = spawn(process.execPath, [program, broker, database, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (part) => {
    output += part;
  });
  const ended = new Promise((resolve) =>
    child.once('exit', (code, signal) => resolve(signal ?? `${output.trim()} ${code}`)),
  );
  return { child, ended, output: () => output };
}

const transfer = (txn, amount, step = '', from = 'alice', to = 'bob') =>
  start('transfer', txn, from, to, String(amount), step).ended;
async function checker() {
  const started = start('check');
  await until(() => started.output().includes('ready'));
  return {
    async kill() {
      started.child.kill('SIGKILL');
      await started.ended;
    },
  };
}
async function until(holds, what = String(holds)) {
  for (const end = Date.now() + 60_000; !(await holds()); await sleep(50)) {
    if (Date.now() > end) throw new Error(`it did not come to that: ${what}`);
  }
}
async function balances() {
  const { rows } = await pool.query('SELECT id, balance FROM accounts ORDER BY id');
  return rows.map(({ balance }) => balance).join(' ');
}
const verdictOf = async (txn) =>
  (await pool.query('SELECT verdict FROM outcomes WHERE txn_id = $1', [txn])).rows[0]?.verdict;
const isTold = (txn) => told.includes(txn);
function equal(got, wanted) {
  if (JSON.stringify(got) !== JSON.stringify(wanted))
    throw new Error(`${JSON.stringify(got)}, not ${JSON.stringify(wanted)}`);
}
async function check(name, run) {
  try {
    await run();
    process.stdout.write(`pass ${name}\n`);
  } catch (error) {
    process.stdout.write(`fail ${name}\n`);
    process.stderr.write(`${name}: ${error.stack}\n`);
  }
}

await pool.query(
  'CREATE TABLE accounts (id text PRIMARY KEY, balance integer NOT NULL CHECK (balance >= 0))',
);
await pool.query('CREATE TABLE outcomes (txn_id text PRIMARY KEY, verdict text NOT NULL)');
await pool.query("INSERT INTO accounts VALUES ('alice', 1000), ('bob', 1000)");
const admin = kafka.admin();
await admin.connect();
await admin.createTopics({
  topics: [{ topic: 'transfers', configEntries: [{ name: 'rmq.message.type', value: 'TRANSACTION' }] }],
});
await admin.disconnect();
const consumer = kafka.consumer({ groupId: 'accounting', maxWaitTimeInMs: 100 });
await consumer.connect();
await consumer.subscribe({ topic: 'transfers', fromBeginning: true });
await consumer.run({
  eachMessage: async ({ message }) => {
    told.push(JSON.parse(message.value).txn);
  },
});

await check('a transfer is told of', async () => {
  equal(await transfer('t1', 100), 'commit 0');
  equal(await balances(), '900 1100');
  await until(() => isTold('t1'));
});
await check('a transfer that the database refuses is not', async () => {
  equal(await transfer('t2', 5000), 'rollback 0');
  equal(await balances(), '900 1100');
});
await check('killed between the commit and the decision: told of when an instance is back', async () => {
  equal(await transfer('t3', 100, 'before-decision'), 'SIGKILL');
  equal(await balances(), '800 1200');
  await sleep(2500);
  equal(isTold('t3'), false);
  const instance = await checker();
  await until(() => isTold('t3'));
  await instance.kill();
});
await check('killed before the local transaction, or in it: not told of', async () => {
  equal(await transfer('t4', 100, 'before-local'), 'SIGKILL');
  equal(await transfer('t5', 100, 'before-commit'), 'SIGKILL');
  const instance = await checker();
  await until(async () => (await verdictOf('t4')) === 'rollback' && (await verdictOf('t5')) === 'rollback');
  equal(await balances(), '800 1200');
  await instance.kill();
});
await check('a check waits for a transaction that is under way', async () => {
  const instance = await checker();
  equal(await transfer('t6', 100, 'slow'), 'commit 0');
  await until(() => isTold('t6'));
  equal(await balances(), '700 1300');
  await instance.kill();
});
await check('the broker is killed between the commit and the decision', async () => {
  const transferring = start('transfer', 't7', 'alice', 'bob', '100', 'slow');
  await sleep(2500);
  await fetch(`${process.env.COMPAT_CONTROL}/restart`, { method: 'POST' });
  equal(await transferring.ended, 'commit 0');
  const instance = await checker();
  await until(() => isTold('t7'));
  equal(await balances(), '600 1400');
  await instance.kill();
});
if (!isShort) {
  await check('60 transfers, killed at random, beside kills of the broker and of who answers', async () => {
    const steps = ['', 'before-local', 'before-commit', 'before-decision'];
    let instance = await checker();
    const transferAll = async (lane) => {
      for (let number = 0; number < 30; number++) {
        const [from, to] = Math.random() < 0.5 ? ['alice', 'bob'] : ['bob', 'alice'];
        await transfer(`m${lane}-${number}`, 10, steps[Math.floor(Math.random() * 6)] ?? '', from, to);
        if (lane === 0 && number % 10 === 5)
          await fetch(`${process.env.COMPAT_CONTROL}/restart`, { method: 'POST' });
        if (lane === 1 && number % 10 === 7) {
          await instance.kill();
          instance = await checker();
        }
      }
    };
    await Promise.all([transferAll(0), transferAll(1)]);
    const committed = async () =>
      (await pool.query("SELECT txn_id FROM outcomes WHERE verdict = 'commit' ORDER BY txn_id")).rows.map(
        ({ txn_id }) => txn_id,
      );
    await until(async () => (await committed()).every(isTold));
    await sleep(3000);
    equal([...told].sort(), (await committed()).sort());
    const { rows } = await pool.query('SELECT sum(balance)::integer AS sum FROM accounts');
    equal(rows[0].sum, 2000);
    await instance.kill();
  });
}
await check('nothing is told of twice, and nothing that was not committed', async () => {
  await sleep(2000);
  equal(new Set(told).size, told.length);
  for (const txn of told) equal(await verdictOf(txn), 'commit');
});
// kafkajs may wait for ever for the end of a consumer whose broker was killed.
process.exit(0);
