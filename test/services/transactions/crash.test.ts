/**
 * The power goes at every call that the disk gets while transactions begin, write, commit offsets and end. Whatever is left, each
 * transaction is there as a whole or not at all: its records in every partition, its offsets, and what its coordinator says.
 */
import { describe, expect, it } from 'vitest';
import { errorCodes } from '../../../protocol/error-codes.ts';
import { type CrashPolicy, SimulatedDisk } from '../../fakes/simulated-disk.ts';
import { TransactionBroker } from './transaction-broker.ts';

const id = 'tx';
const group = 'g';
const topicName = 't';
const delayedName = 'later';
const partitions = [0, 1];
const rounds = 6;
/** Transactions one after the other; each writes its number into every partition and commits it as an offset. Even ones are aborted. */
async function work(broker: TransactionBroker, answered: Map<number, boolean>): Promise<void> {
  const { transactions, topics } = broker;
  await broker.createTopic(topicName, 'NORMAL');
  await broker.createTopic(delayedName, 'DELAY');
  await transactions.ensureTopic();
  let producer = await transactions.initProducerId(id, 60_000, undefined);
  for (let round = 1; round <= rounds; round++) {
    const { producerId, producerEpoch } = producer;
    const value = String(round);
    const later = { value, headers: { 'rmq-delay-ms': '1000' } };
    const named = { value, headers: { ...later.headers, ...(round < 4 ? { 'rmq-message-id': 'm' } : {}) } };
    const sent = await broker.send({ transactionalId: id, producerId, producerEpoch, sequence: 0 }, [
      ...partitions.map((partition) => [topicName, partition, [{ value }]] as const),
      [delayedName, 0, [named]],
      // Some wait for the end, some are there at once: a batch of both.
      [delayedName, 1, [{ value }, later]],
    ]);
    for (const { errorCode } of sent) expect(errorCode).toBe(0);
    const committed = await transactions.commitOffsets(
      id,
      {
        groupId: group,
        producerId,
        producerEpoch,
        memberId: '',
        groupInstanceId: null,
        generationId: -1,
        topics: [
          {
            name: topicName,
            topicId: topics.get(topicName)!.id,
            partitions: [
              { partitionIndex: 0, offset: round, leaderEpoch: -1, metadata: '', commitTimestampMs: -1 },
            ],
          },
        ],
      },
      5,
    );
    expect(committed.errorCode).toBe(0);
    const isCommit = round % 2 === 1;
    producer = await transactions.endTransaction(id, producer, isCommit, true);
    expect(producer.errorCode).toBe(0);
    answered.set(round, isCommit);
  }
}

async function offsetOf(broker: TransactionBroker): Promise<number> {
  const topicId = broker.topics.get(topicName)!.id;
  const answer = await broker.groups.fetchOffsets(group, [
    { name: topicName, topicId, partitionIndexes: [0] },
  ]);
  return Number(answer.topics[0]!.partitions[0]!.offset);
}

/** What was delayed comes if its transaction was committed, once, and never otherwise. */
async function judgeDelayed(broker: TransactionBroker, values: readonly number[]): Promise<string[]> {
  const wrong: string[] = [];
  if (broker.held.size > 0) wrong.push('something is held for ever');
  await broker.pass(2000);
  if (broker.topics.get(delayedName) === undefined) return values.length > 0 ? ['no topic of delays'] : wrong;
  const [named, both] = await Promise.all(partitions.map((at) => broker.committed(delayedName, at)));
  // Two of one id: the newest of them, unless the older was delivered before it came.
  const expected = values.filter((value) => value !== 1 || !values.includes(3));
  if (String(named!.values) !== String(expected)) wrong.push(`delayed ${named!.values}, committed ${values}`);
  const twice = [...values, ...values].map(String);
  if (String([...both!.values].sort()) !== String(twice.sort())) {
    wrong.push(`at once and delayed ${both!.values}, committed ${values}`);
  }
  if (named!.isOpen || both!.isOpen) wrong.push('a partition of delays is held back for ever');
  await broker.trim.runOnce();
  const bytes = await broker.hiddenBytes();
  if (bytes > 0) wrong.push(`${bytes} hidden bytes are kept for nobody`);
  return wrong;
}

/** What is wrong with what a crash left. */
async function judge(disk: SimulatedDisk, answered: ReadonlyMap<number, boolean>): Promise<string[]> {
  const broker = await TransactionBroker.onDisk(disk);
  const wrong: string[] = [];
  if (broker.topics.get(topicName) === undefined) {
    return answered.size === 0 ? [] : ['the topic is gone'];
  }
  const seen = await Promise.all(partitions.map((partition) => broker.committed(topicName, partition)));
  const [first, second] = seen.map(({ values }) => values);
  if (String(first) !== String(second)) wrong.push(`torn: ${first} and ${second}`);
  const values = first!.map(Number);
  if (values.some((value) => value % 2 === 0)) wrong.push(`aborted records are seen: ${values}`);
  if (String(values) !== String([1, 3, 5].slice(0, values.length))) wrong.push(`out of order: ${values}`);
  const last = values.at(-1) ?? -1;
  const offset = await offsetOf(broker);
  if (offset !== last) wrong.push(`the offset is ${offset} and the records end with ${last}`);
  for (const [round, isCommit] of answered) {
    if (isCommit && !values.includes(round)) wrong.push(`${round} was answered and is lost`);
  }
  const described = await broker.transactions.describe(id);
  const state = described.transaction?.state;
  const isOpen = seen.some((one) => one.isOpen);
  if (isOpen && state?.state !== 'Ongoing') wrong.push(`open in a partition and ${state?.state}`);

  // And on it goes: a new producer fences, and whatever was open is over.
  await broker.transactions.ensureTopic();
  const next = await broker.transactions.initProducerId(id, 60_000, undefined);
  if (next.errorCode !== errorCodes.NONE) wrong.push(`a new producer is refused: ${next.errorCode}`);
  for (const partition of partitions) {
    const now = await broker.committed(topicName, partition);
    if (now.isOpen || String(now.values) !== String(first)) wrong.push(`after it ${now.values}`);
  }
  if (broker.open.size > 0) wrong.push('something is open for ever');
  wrong.push(...(await judgeDelayed(broker, values)));
  if ((await offsetOf(broker)) !== offset) wrong.push('the offset moved by itself');
  await broker.closeServices();
  await broker.engine.close();
  return wrong;
}

async function cutAt(call: number, policy: CrashPolicy): Promise<string[]> {
  const disk = new SimulatedDisk({ seed: call });
  disk.crashAtCall = call;
  const answered = new Map<number, boolean>();
  const working = (async () => work(await TransactionBroker.onDisk(disk), answered))();
  await Promise.race([working, disk.died]);
  working.catch(() => {});
  return (await judge(disk.crash(policy, call), answered)).map((what) => `call ${call}, ${policy}: ${what}`);
}

const policies: readonly CrashPolicy[] = ['none', 'subset', 'prefix', 'all', 'kill'];
const step = process.env.CRASH_STATES === 'all' ? 1 : 3;

describe('a power cut in the middle of transactions', () => {
  it('tears none of them', { timeout: 600_000 }, async () => {
    const whole = new SimulatedDisk({ seed: 1 });
    const answered = new Map<number, boolean>();
    await work(await TransactionBroker.onDisk(whole), answered);
    expect([...answered]).toHaveLength(rounds);
    const { calls } = whole;
    expect(calls).toBeGreaterThan(30);
    expect(await judge(whole.crash('none', 1), answered)).toEqual([]);
    const wrong: string[] = [];
    for (let call = 1; call <= calls && wrong.length < 5; call += step) {
      const asked = process.env.CRASH_STATES === 'all' ? policies : [policies[call % policies.length]!];
      for (const policy of asked) wrong.push(...(await cutAt(call, policy)));
    }
    expect(wrong).toEqual([]);
  });
});
