/**
 * node scripts/run-ts.mjs test/faults/run.ts [NAME ...]
 *
 * The real broker on real file systems that are full, out of files, or fail to flush: small tmpfs mounts and an ext4 image on one
 * that is smaller than it says; and one that is short of file descriptors. Where there is no root the simulated disk's tests run in
 * place of what needs it, and the summary says so. Ends with `N passed, N failed`.
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { errorCodes, errorName } from '../../protocol/error-codes.ts';
import { BrokerProcess, freePort } from '../crash/broker-process.ts';
import { bundleBroker } from '../crash/bundled-broker.ts';
import { BrokerClient } from './broker-client.ts';
import { fillUp, lyingVolume, smallVolume, takeFiles, type Volume } from './volumes.ts';

const root = resolve(dirname(process.argv[1]!), '../..');
const recordBytes = 100_000;
/** How soon a broker must take data again once there is room. */
const recoversWithinMs = 15_000;

const full = errorCodes.KAFKA_STORAGE_ERROR;
/** What clients try again by themselves. */
const retriable = new Set<number>([
  errorCodes.KAFKA_STORAGE_ERROR,
  errorCodes.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
  errorCodes.COORDINATOR_NOT_AVAILABLE,
  errorCodes.COORDINATOR_LOAD_IN_PROGRESS,
  errorCodes.NOT_COORDINATOR,
  errorCodes.REQUEST_TIMED_OUT,
]);

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

function expectCode(found: number, expected: number, what: string): void {
  check(found === expected, `${what} was answered ${errorName(found)}, not ${errorName(expected)}`);
}

class Subject {
  readonly broker: BrokerProcess;
  readonly client: BrokerClient;
  /** Records acknowledged, per topic. */
  readonly acknowledged = new Map<string, number>();

  private constructor(broker: BrokerProcess, client: BrokerClient) {
    this.broker = broker;
    this.client = client;
  }

  static async start(
    program: string,
    dataDirectory: string,
    more: Readonly<Record<string, string>> = {},
    openFiles?: number,
  ): Promise<Subject> {
    const settings = {
      'auto.create.topics.enable': 'false',
      'offsets.topic.num.partitions': '1',
      'log.retention.check.interval.ms': '1000',
      ...more,
    };
    const port = await freePort();
    const broker = BrokerProcess.load({
      program,
      port,
      dataDirectory,
      settings,
      ...(openFiles === undefined ? {} : { openFiles }),
    });
    broker.go();
    check((await broker.ready(20_000)) !== undefined, `the broker did not start: ${broker.lastOutput}`);
    return new Subject(broker, await BrokerClient.connect(broker.port));
  }

  /** Produces until the disk is full. Answers how many records were taken. */
  async fill(topic: string, keyOf: (taken: number) => string | null = () => null): Promise<number> {
    for (let taken = 0; taken < 10_000; taken++) {
      const { errorCode } = await this.client.produce(topic, recordBytes, keyOf(taken));
      if (errorCode !== errorCodes.NONE) {
        check(retriable.has(errorCode), `a full disk was answered ${errorName(errorCode)}`);
        return taken;
      }
      this.acknowledged.set(topic, (this.acknowledged.get(topic) ?? 0) + 1);
    }
    throw new Error('the disk takes everything');
  }

  /** Every record acknowledged can be read, and the group's commits are taken or refused for now. */
  async goesOn(topic: string, from = 0): Promise<void> {
    const end = await this.client.endOffset(topic);
    const count = this.acknowledged.get(topic) ?? 0;
    check(end >= count, `${topic} ends at ${end}, ${count} were acknowledged`);
    for (const offset of [from, Math.floor((from + count) / 2), count - 1]) {
      const { errorCode, sizeBytes } = await this.client.fetch(topic, offset);
      expectCode(errorCode, errorCodes.NONE, `a fetch at ${offset}`);
      check(sizeBytes > recordBytes, `a fetch at ${offset} of ${count} has ${sizeBytes} bytes`);
    }
    check((await this.client.topics()).includes(topic), 'metadata is without the topic');
    const code = await this.client.commit('g', topic, count);
    check(code === errorCodes.NONE || retriable.has(code), `a commit was answered ${errorName(code)}`);
  }

  /** Milliseconds until a record is taken again. */
  async takesAgain(topic: string, key: string | null = null): Promise<number> {
    const startMs = performance.now();
    for (;;) {
      const { errorCode } = await this.client.produce(topic, recordBytes, key);
      const elapsedMs = Math.round(performance.now() - startMs);
      if (errorCode === errorCodes.NONE) {
        this.acknowledged.set(topic, (this.acknowledged.get(topic) ?? 0) + 1);
        return elapsedMs;
      }
      check(elapsedMs < recoversWithinMs, `still ${errorName(errorCode)} after ${elapsedMs} ms`);
      await new Promise((done) => setTimeout(done, 100));
    }
  }

  async set(topic: string, settings: Readonly<Record<string, string>>): Promise<void> {
    for (const [name, value] of Object.entries(settings)) {
      expectCode(await this.client.setTopic(topic, name, value), errorCodes.NONE, `${name}=${value}`);
    }
  }

  async stop(): Promise<void> {
    this.client.close();
    const how = await this.broker.stop();
    check(how === 'exit code 0', `the broker ended with ${how}: ${this.broker.lastOutput}`);
  }
}

interface FaultCase {
  readonly name: string;
  /** It mounts file systems. */
  readonly needsRoot: boolean;
  /** Answers a line for the summary. */
  run(program: string): Promise<string>;
}

/** Runs on a volume of its own with a started broker and a topic `t`. */
function onVolume(
  name: string,
  options: string,
  body: (subject: Subject, volume: Volume, program: string) => Promise<string>,
  settings: Readonly<Record<string, string>> = {},
): FaultCase {
  return {
    name,
    needsRoot: true,
    async run(program) {
      const volume = await smallVolume(options);
      try {
        const subject = await Subject.start(program, join(volume.path, 'data'), settings);
        try {
          expectCode(await subject.client.createTopic('t'), errorCodes.NONE, 'CreateTopics');
          return await body(subject, volume, program);
        } finally {
          if (!subject.broker.isGone) await subject.broker.kill();
        }
      } finally {
        await volume.remove();
      }
    },
  };
}

const eagerCleaner = {
  'log.cleaner.backoff.ms': '200',
  'log.cleaner.min.cleanable.ratio': '0.01',
  'log.segment.bytes': '1048576',
};

const cases: readonly FaultCase[] = [
  onVolume(
    'a full disk refuses producers, reads and commits go on; DeleteRecords frees it',
    'size=96m',
    async (subject) => {
      const taken = await subject.fill('t');
      await subject.goesOn('t');
      expectCode(
        (await subject.client.produce('t', recordBytes)).errorCode,
        full,
        'a produce on a full disk',
      );
      expectCode(await subject.client.deleteRecords('t', taken - 1), errorCodes.NONE, 'DeleteRecords');
      const waitedMs = await subject.takesAgain('t');
      await subject.stop();
      return `${taken} records of 100 KB taken, again after ${waitedMs} ms`;
    },
  ),
  onVolume('deleting a topic frees a full disk', 'size=96m', async (subject) => {
    expectCode(await subject.client.createTopic('u'), errorCodes.NONE, 'CreateTopics');
    await subject.client.produce('u', 100);
    const taken = await subject.fill('t');
    await subject.goesOn('t');
    expectCode(await subject.client.deleteTopic('t'), errorCodes.NONE, 'DeleteTopics');
    const waitedMs = await subject.takesAgain('u');
    await subject.stop();
    return `${taken} taken, another topic after ${waitedMs} ms`;
  }),
  onVolume(
    'retention frees a full disk, three times over',
    'size=96m',
    async (subject) => {
      const waits: number[] = [];
      for (let round = 0; round < 3; round++) {
        await subject.fill('t');
        expectCode(
          await subject.client.setTopic('t', 'retention.bytes', '20000000'),
          errorCodes.NONE,
          'the setting',
        );
        waits.push(await subject.takesAgain('t'));
        expectCode(
          await subject.client.setTopic('t', 'retention.bytes', '-1'),
          errorCodes.NONE,
          'the setting',
        );
      }
      await subject.stop();
      return `again after ${waits.join(', ')} ms`;
    },
    { 'rmq.commitlog.segment.bytes': '8388608' },
  ),
  onVolume(
    'compaction frees a full disk, three times over',
    'size=96m',
    async (subject) => {
      const waits: number[] = [];
      for (let round = 0; round < 3; round++) {
        await subject.set('t', { 'cleanup.policy': 'delete' });
        await subject.fill('t', (taken) => `key ${taken % 5}`);
        await subject.set('t', { 'cleanup.policy': 'compact' });
        waits.push(await subject.takesAgain('t', 'key 0'));
      }
      await subject.stop();
      return `again after ${waits.join(', ')} ms`;
    },
    { 'rmq.commitlog.segment.bytes': '8388608', ...eagerCleaner },
  ),
  onVolume(
    'compaction that finds no room for what it keeps waits, and harms nothing',
    'size=96m',
    async (subject, volume) => {
      // Compacted only now: a copy that was given up while the disk filled would leave room for more.
      const taken = await subject.fill('t', (count) => `key ${count}`);
      fillUp(join(volume.path, 'other'));
      await subject.set('t', { 'cleanup.policy': 'compact' });
      await new Promise((done) => setTimeout(done, 3000)); // a dozen rounds of the cleaner
      await subject.goesOn('t');
      expectCode(
        (await subject.client.produce('t', recordBytes, 'key')).errorCode,
        full,
        'a produce on a full disk',
      );
      rmSync(join(volume.path, 'other'));
      await volume.remount('size=160m');
      const waitedMs = await subject.takesAgain('t', 'key');
      await subject.goesOn('t');
      await subject.stop();
      return `${taken} records of as many keys, again after ${waitedMs} ms`;
    },
    { 'rmq.commitlog.segment.bytes': '8388608', ...eagerCleaner },
  ),
  onVolume('another program fills the disk and gives it back', 'size=96m', async (subject, volume) => {
    for (let at = 0; at < 100; at++) await subject.client.produce('t', recordBytes);
    subject.acknowledged.set('t', 100);
    await new Promise((done) => setTimeout(done, 500)); // the reserve is made meanwhile
    const other = join(volume.path, 'other');
    fillUp(other);
    const taken = await subject.fill('t');
    await subject.goesOn('t');
    expectCode(
      await subject.client.deleteRecords('t', 50),
      errorCodes.NONE,
      'DeleteRecords on a disk without a byte',
    );
    rmSync(other);
    const waitedMs = await subject.takesAgain('t');
    await subject.stop();
    return `${taken} taken from the reserve, again after ${waitedMs} ms`;
  }),
  onVolume('a kill and a start on a disk without a byte', 'size=96m', async (subject, volume, program) => {
    await subject.fill('t');
    const other = join(volume.path, 'other');
    fillUp(other);
    await subject.client.produce('t', recordBytes);
    await subject.broker.kill();
    fillUp(other + 2);
    const second = await Subject.start(program, join(volume.path, 'data'));
    second.acknowledged.set('t', subject.acknowledged.get('t')!);
    await second.goesOn('t');
    expectCode((await second.client.produce('t', recordBytes)).errorCode, full, 'a produce');
    rmSync(other);
    rmSync(other + 2);
    await volume.remount('size=128m');
    const waitedMs = await second.takesAgain('t');
    await second.stop();
    return `again after ${waitedMs} ms`;
  }),
  onVolume('a full disk that grows', 'size=64m', async (subject, volume) => {
    const taken = await subject.fill('t');
    await volume.remount('size=96m');
    const waitedMs = await subject.takesAgain('t');
    await subject.goesOn('t');
    await subject.stop();
    return `${taken} taken, again after ${waitedMs} ms`;
  }),
  onVolume(
    'a disk without a file to be made',
    'size=96m,nr_inodes=100',
    async (subject, volume) => {
      for (let at = 0; at < 50; at++) await subject.client.produce('t', recordBytes);
      subject.acknowledged.set('t', 50);
      await new Promise((done) => setTimeout(done, 500));
      const files = await takeFiles(join(volume.path, 'others'));
      const taken = await subject.fill('t');
      await subject.goesOn('t');
      rmSync(join(volume.path, 'others'), { recursive: true });
      const waitedMs = await subject.takesAgain('t');
      await subject.stop();
      return `${files} files taken, ${taken} records more, again after ${waitedMs} ms`;
    },
    { 'rmq.commitlog.segment.bytes': '4194304' },
  ),
  {
    name: 'near the limit of file descriptors accepting pauses, connections and files go on, and it accepts again',
    needsRoot: false,
    async run(program) {
      const directory = await mkdtemp(join(tmpdir(), 'odradek-files-'));
      const sockets: Socket[] = [];
      try {
        // 1 MiB segments: files are opened all the while.
        const settings = { 'rmq.commitlog.segment.bytes': '1048576' };
        const subject = await Subject.start(program, join(directory, 'data'), settings, 400);
        try {
          expectCode(await subject.client.createTopic('t'), errorCodes.NONE, 'CreateTopics');
          let open = 0;
          for (let at = 0; at < 500; at++) if (await connects(subject.broker.port, sockets)) open++;
          check(open >= 100 && open < 400, `${open} of 500 connections were taken with 400 file descriptors`);
          check(
            /accepts no connections/.test(subject.broker.lastOutput),
            `no word of it: ${subject.broker.lastOutput}`,
          );
          for (let at = 0; at < 40; at++) {
            expectCode(
              (await subject.client.produce('t', recordBytes)).errorCode,
              errorCodes.NONE,
              'a produce',
            );
          }
          subject.acknowledged.set('t', 40);
          await subject.goesOn('t');
          for (const socket of sockets) socket.destroy();
          const startMs = performance.now();
          while (!(await connects(subject.broker.port, sockets))) {
            check(performance.now() - startMs < recoversWithinMs, 'no connection is taken again');
            await new Promise((done) => setTimeout(done, 100));
          }
          const waitedMs = Math.round(performance.now() - startMs);
          const second = await BrokerClient.connect(subject.broker.port);
          check((await second.endOffset('t')) === 40, 'a new connection sees another end');
          second.close();
          await subject.stop();
          return `${open} of 500 taken, again after ${waitedMs} ms`;
        } finally {
          if (!subject.broker.isGone) await subject.broker.kill();
        }
      } finally {
        for (const socket of sockets) socket.destroy();
        rmSync(directory, { recursive: true });
      }
    },
  },
  {
    name: 'a flush that fails stops the broker, and nothing is acknowledged after it',
    needsRoot: true,
    async run(program) {
      const volume = await lyingVolume(24, 256);
      try {
        const subject = await Subject.start(program, join(volume.path, 'data'), {
          'rmq.disk.reserve.bytes': '0',
        });
        expectCode(await subject.client.createTopic('t'), errorCodes.NONE, 'CreateTopics');
        let taken = 0;
        let refused = '';
        while (refused === '' && taken < 2000) {
          try {
            const { errorCode } = await subject.client.produce('t', recordBytes);
            if (errorCode === errorCodes.NONE) taken++;
            else refused = errorName(errorCode);
          } catch (error) {
            refused = (error as Error).message;
          }
        }
        const how = await Promise.race([
          subject.broker.ended,
          new Promise<string>((done) => setTimeout(() => done('it goes on'), 5000)),
        ]);
        check(how === 'exit code 70', `the broker ended with ${how}`);
        check(
          /flushing .* failed|EIO/.test(subject.broker.lastOutput),
          `no word of it: ${subject.broker.lastOutput}`,
        );
        return `${taken} records taken, then ${refused}; ${how}`;
      } finally {
        await volume.remove();
      }
    },
  },
];

/** True where the connection is taken and stays for a moment; it is kept in `sockets` then. */
async function connects(port: number, sockets: Socket[]): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const isOpen = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => setTimeout(() => resolve(!socket.destroyed), 5));
    socket.once('error', () => resolve(false));
    socket.once('close', () => resolve(false));
  });
  socket.on('error', () => {});
  if (isOpen) sockets.push(socket);
  return isOpen;
}

const isRoot = process.getuid?.() === 0 && process.platform === 'linux';
let passed = 0;
let failed = 0;
if (!isRoot) {
  console.log('NO FILE SYSTEMS OF OUR OWN (no root): the simulated disk runs in place of what needs them:');
  const { status } = spawnSync(
    process.execPath,
    [
      'node_modules/vitest/vitest.mjs',
      'run',
      'test/storage/embedded/full-disk.test.ts',
      'test/storage/embedded/disk-work.test.ts',
    ],
    { cwd: root, stdio: 'inherit' },
  );
  if (status === 0) passed++;
  else failed++;
  console.log(`on the simulated disk only: ${status === 0 ? 'passed' : 'FAILED'}`);
}

const wanted = process.argv.slice(2);
const broker = await bundleBroker(root);
try {
  for (const each of cases) {
    if (each.needsRoot && !isRoot) continue;
    if (wanted.length > 0 && !wanted.some((word) => each.name.includes(word))) continue;
    const startMs = performance.now();
    try {
      const told = await each.run(broker.program);
      passed++;
      console.log(`passed: ${each.name} (${told}; ${((performance.now() - startMs) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed++;
      console.log(`FAILED: ${each.name}: ${(error as Error).message}`);
    }
  }
} finally {
  await broker.remove();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
