/** Delayed records on their way in: what is taken, in which bytes it waits and comes out, and what is refused in which words. */
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { errorCodes } from '../../../protocol/error-codes.ts';
import { decodeRecords } from '../../../protocol/records/batch-records.ts';
import { codecNameOf } from '../../../protocol/records/compression.ts';
import {
  batchBaseOffset,
  batchBaseSequence,
  batchCodecId,
  batchIsTransactional,
  batchMaxTimestamp,
  batchProducerId,
  batchSizeBytes,
  batchTimestampType,
  isBatchIntact,
  stampBatch,
} from '../../../protocol/records/record-batch.ts';
import {
  type BatchOptions,
  buildRecordBatch,
  type RecordInput,
} from '../../../protocol/records/record-batch-builder.ts';
import type { PartitionAppendResult } from '../../../src/services/append/append-result.ts';
import { AppendService } from '../../../src/services/append/append-service.ts';
import { BrokerConfig } from '../../../src/services/configuration/broker-config.ts';
import { mayHoldControlHeader } from '../../../src/services/features/control-headers.ts';
import { delayLevelsMs } from '../../../src/services/features/delay/delay-headers.ts';
import { decodeDelayedBatch } from '../../../src/services/features/delay/delay-row.ts';
import { DelayService } from '../../../src/services/features/delay/delay-service.ts';
import { HiddenTrim } from '../../../src/services/features/timers/hidden-trim.ts';
import { TimerEngine } from '../../../src/services/features/timers/timer-engine.ts';
import { timerKinds } from '../../../src/services/features/timers/timer-kinds.ts';
import { ensureHiddenQueues } from '../../../src/services/topics/hidden-queues.ts';
import type { TopicSettings } from '../../../src/services/topics/topic.ts';
import { openMemoryEngine } from '../../../src/storage/memory/memory-engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { silentLog } from '../../../src/util/log.ts';
import { FakeTopicDirectory } from '../../fakes/topic-directory.ts';
import { allCodecs } from '../../protocol/records/record-samples.ts';
import { batchFormat } from './delay-scenario.ts';

const dayMs = 86_400_000;
const bornMs = 1_690_000_000_000;

async function brokerOf(settings: Partial<TopicSettings> = {}) {
  const clock = new VirtualClock();
  const engine = openMemoryEngine({ payloadFormat: batchFormat, clock });
  const topics = new FakeTopicDirectory(engine);
  const topic = await topics.create('t', 1, { messageType: 'MIXED', ...settings });
  // The fake's queues are not counted where the hidden ones take their ids from.
  await engine.catalogue.update({ changes: [{ key: 'topics-next-queue', value: Buffer.from('1000') }] });
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (_fields: unknown, message: string) => void warnings.push(message) };
  const timers = new TimerEngine({ engine, clock, log });
  const trim = new HiddenTrim({ engine, timers, clock, log });
  const config = new BrokerConfig();
  const queues = await DelayService.ensureQueues(engine);
  const delay = new DelayService({ engine, queues, topics, timers, trim, config, clock, log });
  const settingsNow = { flushPolicy: 'acks' } as const;
  const appends = new AppendService({ engine, topics, clock, settings: settingsNow, steps: delay.steps });
  timers.start();
  await timers.whenIdle();
  const produce = async (records: Buffer, version = 9): Promise<PartitionAppendResult> => {
    const request = appends.begin({ version, acks: -1, transactionalId: null });
    request.add(topic, 0, records);
    const [result] = await request.run();
    return result!;
  };
  /** All batches of a queue, taken apart. */
  const read = async (queue: number) => {
    const bounds = await engine.bounds(queue);
    const result = await engine.read(queue, {
      fromOffset: bounds!.startOffset,
      maxBytes: 1e9,
      atLeastOne: true,
    });
    if (result.outcome !== 'read') throw new Error(result.outcome);
    const bytes = Buffer.concat(result.payloads);
    const batches: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += batchSizeBytes(bytes, at)) {
      batches.push(bytes.subarray(at, at + batchSizeBytes(bytes, at)));
    }
    return batches;
  };
  /** All that waits, in due order: in rows or in hidden queues. */
  const waiting = async () => {
    const entries = new Map<string, Buffer>();
    for (const queue of queues) {
      for (const batch of await read(queue)) entries.set(`${queue}/${batchBaseOffset(batch, 0)}`, batch);
    }
    const due = await timers.list(undefined, 10_000);
    return due
      .filter(({ kind }) => kind === timerKinds.delayedDelivery)
      .map(({ payload, source }) => {
        return decodeDelayedBatch(payload).inRow ?? entries.get(`${source.queue}/${source.offset}`)!;
      });
  };
  const hiddenEntries = async () => (await Promise.all(queues.map(read))).flat();
  const target = () => read(topic.partitions[0]!.queue);
  return { clock, engine, topics, topic, timers, delay, produce, waiting, hiddenEntries, target, warnings };
}

function recordOf(value: string, headers: Record<string, string | null> = {}): RecordInput {
  return {
    timestamp: bornMs,
    key: Buffer.from('k'),
    value: Buffer.from(value),
    headers: Object.entries(headers).map(([key, text]) => ({
      key,
      value: text === null ? null : Buffer.from(text),
    })),
  };
}

const batchOf = (records: RecordInput[], options: BatchOptions = {}) => buildRecordBatch(records, options);

const shown = (batches: readonly Buffer[]) =>
  batches.map((batch) =>
    decodeRecords(batch, 0).map(({ value, headers }) => [
      value!.toString(),
      ...headers.map((header) => `${header.key.toString()}=${header.value?.toString()}`),
    ]),
  );

describe('a batch that asks for delays', () => {
  it.each(
    allCodecs.flatMap((codec) => [
      { codec, isLarge: false },
      { codec, isLarge: true },
    ]),
  )(
    'is stored once a due time and delivered in its codec: $codec, large $isLarge',
    async ({ codec, isLarge }) => {
      const { clock, produce, waiting, hiddenEntries, target, timers } = await brokerOf();
      const large = isLarge ? randomBytes(1000).toString('hex') : 'a';
      const nowMs = clock.nowMs();
      const result = await produce(
        batchOf(
          [
            recordOf(large, { 'rmq-delay-ms': '5000', own: 'x' }),
            recordOf('b'),
            recordOf('c', { 'rmq-delay-level': '2' }),
            recordOf('d', { 'rmq-deliver-at-ms': String(nowMs + 1) }),
            recordOf('e', { 'rmq-deliver-at-ms': '0', own: 'y' }),
          ],
          { codec },
        ),
      );
      expect(result).toMatchObject({ errorCode: 0, baseOffset: -1, logStartOffset: -1, logAppendTimeMs: -1 });
      expect(shown(await target())).toEqual([[['b'], ['e', 'own=y']]]);
      const due = (ms: number) => [`rmq-due-ms=${nowMs + ms}`, `rmq-stored-ms=${nowMs}`];
      expect(shown(await waiting())).toEqual([
        [['d', ...due(1)]],
        [
          [large, 'own=x', ...due(5000)],
          ['c', ...due(5000)],
        ],
      ]);
      expect(
        shown(await hiddenEntries())
          .flat(2)
          .includes(large),
      ).toBe(isLarge);
      await clock.advance(1);
      await timers.whenIdle();
      expect(shown(await target()).length).toBe(2);
      await clock.advance(4998);
      expect(shown(await target()).length).toBe(2);
      await clock.advance(1);
      await timers.whenIdle();
      const delivered = await target();
      expect(
        shown(delivered)
          .flat()
          .map(([value]) => value),
      ).toEqual(['b', 'e', 'd', large, 'c']);
      for (const batch of delivered) {
        expect(isBatchIntact(batch, 0, batch.length)).toBe(true);
        expect(codecNameOf(batchCodecId(batch, 0))).toBe(codec);
        expect(decodeRecords(batch, 0).every(({ timestamp }) => timestamp === bornMs)).toBe(true);
      }
      expect(delivered.map((batch) => decodeRecords(batch, 0)[0]!.offset)).toEqual([0, 2, 3]);
    },
  );

  it('stays as it came where no record asks, also when a value looks as if', async () => {
    const { produce, target } = await brokerOf();
    const batch = batchOf([
      recordOf('rmq-delay-ms'),
      recordOf('x', { 'rmq-due-ms': '1', 'rmq-reconsume-times': '3' }),
    ]);
    expect(await produce(Buffer.from(batch))).toMatchObject({ errorCode: 0, baseOffset: 0 });
    stampBatch(batch, 0, 0, 0);
    expect((await target())[0]).toEqual(batch);
  });

  it('takes the first of level, delay and time, in this order', async () => {
    const { clock, produce, waiting } = await brokerOf();
    const nowMs = clock.nowMs();
    const all = { 'rmq-deliver-at-ms': String(nowMs + 7), 'rmq-delay-ms': '8', 'rmq-delay-level': '1' };
    await produce(batchOf([recordOf('x', all)]));
    const { 'rmq-delay-level': _, ...two } = all;
    await produce(batchOf([recordOf('y', two)]));
    expect(
      shown(await waiting())
        .flat()
        .map(([value, due]) => [value, due]),
    ).toEqual([
      ['y', `rmq-due-ms=${nowMs + 8}`],
      ['x', `rmq-due-ms=${nowMs + 1000}`],
    ]);
  });

  it("has RocketMQ's eighteen levels, and what is above is the last", async () => {
    const { clock, produce, waiting } = await brokerOf();
    const nowMs = clock.nowMs();
    const levels = [...Array.from({ length: 18 }, (_, at) => String(at + 1)), '19', '99999999999999999999'];
    await produce(
      batchOf(levels.map((level) => recordOf(level, { 'rmq-delay-level': level, 'rmq-message-id': level }))),
    );
    const found = shown(await waiting())
      .flat()
      .sort(([a], [b]) => Number(a) - Number(b));
    const expected = [...delayLevelsMs, 7_200_000, 7_200_000].map((ms, at) => [
      levels[at],
      `rmq-due-ms=${nowMs + ms}`,
    ]);
    expect(found.map(([value, , due]) => [value, due])).toEqual(expected);
    expect(delayLevelsMs.map((ms) => ms / 1000)).toEqual([
      1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200,
    ]);
  });

  it.each([
    ['rmq-delay-ms', '-1', 'milliseconds in decimal digits'],
    ['rmq-delay-ms', 'NaN', 'milliseconds in decimal digits'],
    ['rmq-delay-ms', '1e309', 'milliseconds in decimal digits'],
    ['rmq-delay-ms', ' 5', "' 5'"],
    ['rmq-delay-ms', '5.0', 'milliseconds in decimal digits'],
    ['rmq-delay-ms', '', "''"],
    ['rmq-delay-ms', null, 'null'],
    ['rmq-delay-ms', '9223372036854775808', 'rmq.delay.max.ms=259200000'],
    ['rmq-delay-ms', String(10 * 365 * dayMs), 'rmq.delay.max.ms=259200000'],
    ['rmq-delay-ms', '259200001', 'The delay of 259200001 ms is longer than rmq.delay.max.ms=259200000'],
    ['rmq-deliver-at-ms', '18446744073709551615', 'rmq.delay.max.ms'],
    ['rmq-deliver-at-ms', '0x10', 'milliseconds since 1970'],
    ['rmq-delay-level', '0', 'a level from 1 to 18'],
    ['rmq-delay-level', '-1', 'a level from 1 to 18'],
    ['rmq-delay-level', '1.5', 'a level from 1 to 18'],
    ['rmq-delay-ms', 'A'.repeat(100_000), 'milliseconds in decimal digits'],
  ])('%s: %s is refused', async (header, value, words) => {
    const { produce, waiting, target } = await brokerOf();
    const result = await produce(
      batchOf([recordOf('fine', { 'rmq-delay-ms': '1' }), recordOf('bad', { [header]: value })]),
    );
    expect(result.errorCode).toBe(errorCodes.INVALID_RECORD);
    expect(result.recordErrors).toHaveLength(1);
    expect(result.recordErrors[0]!.batchIndex).toBe(1);
    expect(result.recordErrors[0]!.batchIndexErrorMessage).toContain(words);
    expect(result.recordErrors[0]!.batchIndexErrorMessage.length).toBeLessThan(200);
    expect(result.errorMessage).toContain('Record 1: ');
    expect([...(await waiting()), ...(await target())]).toEqual([]);
  });

  it('is refused with a header twice, also with an id that is none', async () => {
    const { produce } = await brokerOf();
    const twice = [
      { key: 'rmq-delay-ms', value: Buffer.from('1') },
      { key: 'rmq-delay-ms', value: Buffer.from('1') },
    ];
    const fault = async (record: RecordInput) =>
      (await produce(batchOf([record]))).recordErrors[0]?.batchIndexErrorMessage;
    expect(await fault({ value: null, headers: twice })).toBe('Header rmq-delay-ms stands more than once');
    for (const id of ['', 'x'.repeat(256), null]) {
      const headers = { 'rmq-delay-ms': '1', 'rmq-message-id': id };
      expect(await fault(recordOf('x', headers))).toBe('Header rmq-message-id must have 1 to 255 bytes');
    }
  });

  it('of an idempotent producer is known again when it is sent again, and its sequence counts', async () => {
    const { produce, waiting, hiddenEntries, target, timers, clock } = await brokerOf();
    const facts = { producerId: 5, producerEpoch: 0 };
    const first = () =>
      batchOf([recordOf('a', { 'rmq-delay-ms': '100' }), recordOf('b')], { ...facts, baseSequence: 0 });
    expect(await produce(first())).toMatchObject({ errorCode: 0, baseOffset: -1 });
    expect(await produce(first())).toMatchObject({ errorCode: 0, baseOffset: -1 });
    const next = batchOf([recordOf('c', { 'rmq-delay-ms': '100' })], { ...facts, baseSequence: 2 });
    expect(await produce(Buffer.from(next))).toMatchObject({ errorCode: 0, baseOffset: -1 });
    expect(await produce(Buffer.from(next))).toMatchObject({ errorCode: 0 });
    const plain = batchOf([recordOf('d')], { ...facts, baseSequence: 3 });
    expect(await produce(Buffer.from(plain))).toMatchObject({ errorCode: 0, baseOffset: 1 });
    const gap = batchOf([recordOf('e', { 'rmq-delay-ms': '1' })], { ...facts, baseSequence: 7 });
    expect(await produce(gap)).toMatchObject({ errorCode: errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER });
    expect(await waiting()).toHaveLength(2);
    for (const batch of [...(await waiting()), ...(await hiddenEntries())]) {
      expect([batchProducerId(batch, 0), batchBaseSequence(batch, 0)]).toEqual([-1, -1]);
      expect(batchIsTransactional(batch, 0)).toBe(false);
    }
    await clock.advance(100);
    await timers.whenIdle();
    expect(
      shown(await target())
        .flat()
        .map(([value]) => value),
    ).toEqual(['b', 'd', 'a', 'c']);
  });

  it('gets the time of delivery where the topic stamps it', async () => {
    const { produce, target, timers, clock } = await brokerOf({ messageTimestampType: 'LogAppendTime' });
    const nowMs = clock.nowMs();
    const result = await produce(batchOf([recordOf('a', { 'rmq-delay-ms': '100' }), recordOf('b')]));
    expect(result).toMatchObject({ errorCode: 0, baseOffset: -1, logAppendTimeMs: -1 });
    await clock.advance(100);
    await timers.whenIdle();
    const batches = await target();
    expect(batches.map((batch) => [batchTimestampType(batch, 0), batchMaxTimestamp(batch, 0)])).toEqual([
      ['LogAppendTime', nowMs],
      ['LogAppendTime', nowMs + 100],
    ]);
    for (const batch of batches) expect(isBatchIntact(batch, 0, batch.length)).toBe(true);
  });

  it('may be too much taken apart', async () => {
    const { produce } = await brokerOf();
    const records = Array.from({ length: 10_001 }, (_, at) =>
      recordOf('', { 'rmq-delay-ms': String(at + 1) }),
    );
    const result = await produce(batchOf(records, { codec: 'gzip' }));
    expect(result.recordErrors[0]?.batchIndexErrorMessage).toContain('10000 different due times');
  });
});

describe('the message type of a topic', () => {
  const delayed = (codec: BatchOptions['codec'] = 'none') =>
    batchOf([recordOf('x'), recordOf('y', { 'rmq-delay-ms': '1' })], { codec });

  it.each(['NORMAL', 'FIFO', 'TRANSACTION'] as const)(
    '%s refuses delays, naming the setting',
    async (messageType) => {
      const { produce, warnings } = await brokerOf({ messageType });
      const result = await produce(delayed());
      expect(result.errorCode).toBe(errorCodes.INVALID_RECORD);
      expect(result.recordErrors).toEqual([
        {
          batchIndex: 1,
          batchIndexErrorMessage: `Header rmq-delay-ms asks for what topics with rmq.message.type=${messageType} do not do; rmq.message.type must be DELAY or MIXED`,
        },
      ]);
      expect(warnings).toEqual([]);
      // A client that gets no message is told of in the log, once a topic.
      await produce(delayed(), 7);
      await produce(delayed(), 7);
      expect(warnings).toHaveLength(1);
      expect(await produce(delayed('gzip'))).toMatchObject({ errorCode: 0, baseOffset: 0 });
    },
  );

  it('DELAY and MIXED take them, whatever the codec', async () => {
    for (const messageType of ['DELAY', 'MIXED'] as const) {
      const { produce } = await brokerOf({ messageType });
      for (const codec of allCodecs) expect(await produce(delayed(codec))).toMatchObject({ baseOffset: -1 });
    }
  });

  it('a default delays what asks for nothing, and nothing else', async () => {
    const { produce, clock, timers, target } = await brokerOf({ delayDefaultMs: 50 });
    await produce(
      batchOf([
        recordOf('default'),
        recordOf('own', { 'rmq-delay-ms': '10' }),
        recordOf('now', { 'rmq-delay-ms': '0' }),
      ]),
    );
    await clock.advance(50);
    await timers.whenIdle();
    expect(
      shown(await target())
        .flat()
        .map(([value]) => value),
    ).toEqual(['now', 'own', 'default']);
  });
});

describe('the search for control headers', () => {
  it('finds them at every place and nothing that only looks like one', () => {
    for (let before = 0; before < 70; before++) {
      const bytes = Buffer.concat([Buffer.alloc(before, 0x71), Buffer.from('rmq-delay-ms'), Buffer.alloc(3)]);
      expect(mayHoldControlHeader(bytes, 0, bytes.length)).toBe(true);
    }
    for (const text of ['', 'q', 'q-', 'rmq-', 'xmq-delay', 'rmq_delay', 'rmq-keys', 'q-d', 'mq-d']) {
      expect(mayHoldControlHeader(Buffer.from(text), 0, text.length)).toBe(false);
    }
  });
});

describe('hidden queues', () => {
  it('are made once, from the ids that topics take theirs from', async () => {
    const engine = openMemoryEngine({ payloadFormat: batchFormat });
    const [first, again] = await Promise.all([
      ensureHiddenQueues(engine.catalogue, '__rmq_test', 3),
      ensureHiddenQueues(engine.catalogue, '__rmq_test', 3),
    ]);
    expect(first).toEqual([1, 2, 3]);
    expect(again).toEqual(first);
    expect(await ensureHiddenQueues(engine.catalogue, '__rmq_test', 9)).toEqual(first);
    expect(await ensureHiddenQueues(engine.catalogue, '__rmq_other', 1)).toEqual([4]);
  });
});
