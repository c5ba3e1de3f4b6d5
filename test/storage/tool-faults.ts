/**
 * What works on a data directory beside the engine (a backup of a running one, its check, the survey and the repair of a damaged one),
 * with one file call of it struck by a fault. It may give up, with an error; it must not say that all is well where it is not, harm what
 * it works on, or leave something that another attempt does not put right.
 */
import { crc32c } from '../../protocol/records/crc32c.ts';
import { verifyBackup } from '../../src/storage/embedded/backup-verify.ts';
import { layoutOf } from '../../src/storage/embedded/directory-layout.ts';
import { openEmbeddedEngine } from '../../src/storage/embedded/embedded-engine.ts';
import type { FileSystem } from '../../src/storage/embedded/file-system.ts';
import { readDirectory } from '../../src/storage/embedded/offline/directory-facts.ts';
import { repairDirectory } from '../../src/storage/embedded/offline/repair.ts';
import { surveyDirectory } from '../../src/storage/embedded/offline/survey.ts';
import { VirtualClock } from '../../src/util/clock.ts';
import { SimulatedDisk } from '../fakes/simulated-disk.ts';
import { type Strike, type WatchedCall, WatchedDisk } from '../fakes/watched-disk.ts';
import { smallSettings } from './embedded/small-settings.ts';
import { makePayload, parsePayloads, testPayloadFormat } from './test-payload.ts';

type Engine = Awaited<ReturnType<typeof openEmbeddedEngine>>;

const entries = 240;

export interface ToolOutcome {
  readonly wrong: readonly string[];
  /** Of the tool alone. */
  readonly calls: readonly WatchedCall[];
}

interface Attempt {
  readonly disk: SimulatedDisk;
  readonly watched: WatchedDisk;
  /** What follows is struck and counted. */
  begin(): void;
  /** No more: what follows looks whether it was right. */
  end(): void;
  fail(what: string): void;
}

export interface Tool {
  readonly name: string;
  run(attempt: Attempt): Promise<void>;
}

function open(fileSystem: FileSystem, directory = '/data'): Promise<Engine> {
  return openEmbeddedEngine({
    directory,
    payloadFormat: testPayloadFormat,
    crc32c,
    fileSystem,
    settings: { ...smallSettings, reserveBytes: 0 },
  });
}

/** Two queues of `entries` durable entries, with rows and a producer; not closed. */
async function filled(disk: SimulatedDisk): Promise<SimulatedDisk> {
  const engine = await open(disk);
  await engine.catalogue.update({ changes: [], createQueues: [1, 2] });
  for (let at = 0; at < entries; at++) {
    await engine.append({
      durability: at % 10 === 0 ? 'sync' : 'async',
      entries: [
        {
          queue: 1 + (at % 2),
          kind: 'data',
          count: 1,
          maxTimestampMs: at,
          payload: makePayload(1, `body ${at}`, 150),
          ...(at % 2 === 0
            ? {
                producer: {
                  countsForQueue: 1,
                  producerId: 7,
                  producerEpoch: 0,
                  firstSequence: at / 2,
                  lastSequence: at / 2,
                  isTransactional: false,
                },
              }
            : {}),
        },
      ],
      changes: [{ index: 'rows', key: Buffer.from(`row ${at % 40}`), value: Buffer.from(`${at}`) }],
    });
  }
  await engine.whenDurable();
  return disk.crash('kill', 3);
}

/** What is missing of the entries; `lost`: those whose bytes were damaged. */
async function missing(engine: Engine, lost?: ReadonlySet<number>): Promise<string[]> {
  const wrong: string[] = [];
  for (const queue of [1, 2]) {
    const found = new Set<string>();
    const end = (await engine.bounds(queue))?.visibleEndOffset ?? 0;
    for (let offset = 0; offset < end; ) {
      const read = await engine.read(queue, { fromOffset: offset, maxBytes: 10_000, atLeastOne: true });
      if (read.outcome === 'damaged') {
        offset = read.nextOffset;
        continue;
      }
      if (read.outcome !== 'read') return [`a read of queue ${queue} at ${offset} is ${read.outcome}`];
      for (const { body } of parsePayloads(read.payloads)) found.add(body);
      offset = read.nextOffset;
      read.release();
    }
    for (let at = queue - 1; at < entries; at += 2)
      if (lost?.has(at) !== true && !found.has(`body ${at}`)) wrong.push(`body ${at} is lost`);
  }
  const rows = await engine.index('rows').range({ limit: 100 });
  if (rows.length !== 40) wrong.push(`${rows.length} rows of 40`);
  return wrong;
}

/** Opens a directory and looks that all is there. */
async function look(
  fileSystem: FileSystem,
  directory: string,
  lost?: ReadonlySet<number>,
): Promise<string[]> {
  const engine = await open(fileSystem, directory);
  try {
    return await missing(engine, lost);
  } finally {
    await engine.close();
  }
}

const verify = (fileSystem: FileSystem, directory: string) =>
  verifyBackup({ fileSystem, directory, crc32c, payloadFormat: testPayloadFormat });

function backup(
  name: string,
  mayLink: boolean,
  before?: (disk: SimulatedDisk, engine: Engine) => Promise<unknown>,
): Tool {
  return {
    name,
    async run({ disk, watched, begin, end, fail }) {
      const engine = await open(watched);
      await before?.(disk, engine);
      let hasFailed = false;
      void engine.failed.then(() => {
        hasFailed = true;
      });
      begin();
      const made = await engine.backup({ destination: '/backup', mayLink }).then(
        () => true,
        () => false,
      );
      end();
      const hasStarted = (await disk.stat('/backup')) !== undefined;
      const faults = hasStarted ? (await verify(disk, '/backup')).faults : ['nothing is there'];
      if (made && faults.length > 0) fail(`it was said to be made, and is not whole: ${faults[0]}`);
      if (faults.length === 0) {
        for (const what of await look(disk, '/backup')) fail(`in the backup: ${what}`);
      } else if (hasStarted) {
        // What is not whole must not pass for data; of nothing a start makes a new directory.
        const isNothing = disk.files().every((path) => !path.startsWith('/backup/'));
        const opened = await open(disk, '/backup').catch(() => undefined);
        if (opened !== undefined && !isNothing) {
          // Everything was there, and only its removal failed.
          for (const what of await missing(opened))
            fail(`a backup that was given up could be started: ${what}`);
        }
        await opened?.close();
      }
      if (hasFailed) {
        const passesFor = watched.struck.at(-1);
        if (passesFor?.path.startsWith('/backup') === true) fail('a fault in the backup stopped the engine');
      } else {
        for (const what of await missing(engine)) fail(`in the engine: ${what}`);
        await engine
          .backup({ destination: '/again', mayLink })
          .catch((error: Error) => fail(`again: ${error.message}`));
        if ((await verify(disk, '/again')).faults.length > 0) fail('the second backup is not whole');
        await engine.close().catch((error: Error) => fail(`the close: ${error.message}`));
      }
      for (const what of await look(disk.crash('kill', 5), '/data')) fail(`after all: ${what}`);
    },
  };
}

/** The segment's entries, by their numbers. */
function numbersIn(bytes: Buffer): Set<number> {
  return new Set(Array.from(bytes.toString('latin1').matchAll(/body (\d+)/g), (match) => Number(match[1])));
}

/** The segment that holds the entry. */
function segmentWith(disk: SimulatedDisk, number: number): string {
  return disk
    .files()
    .find((path) => path.startsWith('/data/commitlog/') && numbersIn(disk.contents(path)).has(number))!;
}

/** Damages that a repair can put right: a payload, a block of each kind of index, a snapshot, the manifest. Answers what is lost. */
function hurt(disk: SimulatedDisk): ReadonlySet<number> {
  const lost = 100;
  const flip = (path: string, at: number): void =>
    disk.damage(path, (bytes) => {
      bytes[at]! ^= 0x10;
    });
  const body = Buffer.from(`body ${lost}`);
  const first = (folder: string, ending: string): string =>
    disk.files().find((path) => path.startsWith(`/data/${folder}`) && path.endsWith(ending))!;
  for (const path of disk.files()) {
    if (!path.startsWith('/data/commitlog/')) continue;
    const at = disk.contents(path).indexOf(body);
    if (at >= 0) flip(path, at);
  }
  flip(first('consumequeues/', '.run'), 8);
  flip(first('index/', '.index'), 20);
  flip(first('snapshots/', '.state'), 60);
  flip('/data/MANIFEST', 50);
  return new Set([lost]);
}

const parts = (fileSystem: FileSystem) => ({
  fileSystem,
  layout: layoutOf('/data'),
  crc32c,
  format: testPayloadFormat,
});

export const tools: readonly Tool[] = [
  backup('a backup with links', true),
  backup('a backup by copies into a directory that is there', false, (disk) =>
    disk.mkdir('/backup/commitlog'),
  ),
  backup('a backup of a large segment', false, (_disk, engine) =>
    engine.append({
      durability: 'sync',
      entries: [
        {
          queue: 2,
          kind: 'data',
          count: 1,
          maxTimestampMs: 1,
          payload: makePayload(1, 'large', 9 * 1024 * 1024),
        },
      ],
    }),
  ),
  {
    name: 'the check of a backup',
    async run({ disk, watched, begin, end, fail }) {
      const engine = await open(disk);
      await engine.backup({ destination: '/backup', mayLink: false });
      await engine.close();
      begin();
      await verify(watched, '/backup').catch(() => undefined);
      const log = disk.files().find((path) => path.startsWith('/backup/commitlog/'))!;
      disk.damage(log, (bytes) => {
        bytes[bytes.length >> 1]! ^= 1;
      });
      end();
      if ((await verify(disk, '/backup')).faults.length === 0) fail('the damage was not found');
    },
  },
  {
    name: 'the survey of a damaged directory',
    async run({ disk, watched, begin, fail }) {
      hurt(disk);
      begin();
      const found = await surveyDirectory({ ...parts(watched), isHeld: false }).catch(() => undefined);
      if (found !== undefined && !found.findings.some(({ severity }) => severity === 'damage'))
        fail('it found nothing');
    },
  },
  {
    name: 'the check of a backup that says nothing of its files',
    async run({ disk, watched, begin, fail }) {
      const engine = await open(disk);
      await engine.backup({ destination: '/backup', mayLink: false });
      await engine.close();
      disk.cut('/backup/BACKUP', undefined);
      begin();
      const verdict = await verify(watched, '/backup').catch(() => undefined);
      if (verdict?.faults.length === 0) fail('it is said to be whole');
    },
  },
  {
    name: 'a dump',
    async run({ disk, watched, begin, fail }) {
      const facts = async (fileSystem: FileSystem): Promise<string> => {
        const { queues, segments } = await readDirectory({ ...parts(fileSystem), isHeld: false });
        return JSON.stringify([segments, [...queues.values()].map(({ id, nextOffset }) => [id, nextOffset])]);
      };
      const expected = await facts(disk);
      begin();
      const found = await facts(watched).catch(() => undefined);
      if (found !== undefined && found !== expected) fail(`it says ${found}, not ${expected}`);
    },
  },
  repair('damaged files', hurt),
  repair('a segment that is of no use from its middle on, beside what another repair left', async (disk) => {
    const path = segmentWith(disk, 100);
    const bytes = disk.contents(path);
    const lost = numbersIn(bytes.subarray(bytes.length >> 1));
    // The one in the middle may be hit as well.
    for (const number of numbersIn(bytes)) if (lost.has(number + 1)) lost.add(number);
    disk.damage(path, (all) => void all.fill(0, bytes.length >> 1));
    const stray = await disk.open(`${path}.new`, 'create');
    await stray.write([Buffer.alloc(10)], 0);
    await stray.close();
    return lost;
  }),
  repair('a segment that is gone', (disk) => {
    const path = segmentWith(disk, 100);
    const lost = numbersIn(disk.contents(path));
    disk.cut(path, undefined);
    return lost;
  }),
  repair('segments that were swapped', async (disk) => {
    const [one, other] = [segmentWith(disk, 60), segmentWith(disk, 120)];
    await disk.rename(one, '/data/commitlog/aside');
    await disk.rename(other, one);
    await disk.rename('/data/commitlog/aside', other);
    return new Set();
  }),
  repair('a segment that another repair had on its way to its name', async (disk) => {
    const path = segmentWith(disk, 100);
    await disk.rename(path, `/data/commitlog/0000000000.log.of-${Number(path.slice(-14, -4))}`);
    return new Set();
  }),
  repair('a directory without a manifest', (disk) => {
    disk.cut('/data/MANIFEST', undefined);
    disk.cut('/data/mirror/MANIFEST', undefined);
    return new Set();
  }),
  repair('a directory without a manifest and the beginning of its log', (disk) => {
    disk.cut('/data/MANIFEST', undefined);
    disk.cut('/data/mirror/MANIFEST', undefined);
    const first = disk.files().find((path) => path.startsWith('/data/commitlog/'))!;
    const lost = numbersIn(disk.contents(first));
    disk.cut(first, undefined);
    return lost;
  }),
  repair('a directory without a manifest and a segment of its middle', (disk) => {
    disk.cut('/data/MANIFEST', undefined);
    disk.cut('/data/mirror/MANIFEST', undefined);
    const path = segmentWith(disk, 100);
    const lost = numbersIn(disk.contents(path));
    disk.cut(path, undefined);
    return lost;
  }),
  repair('a link behind the log', async (disk, watched) => {
    const last = disk.files().findLast((path) => path.startsWith('/data/commitlog/'))!;
    const next = `/data/commitlog/${String(Number(last.slice(-14, -4)) + 1).padStart(10, '0')}.log`;
    await (await disk.open(next, 'create')).close();
    watched.links.add(next);
    return new Set();
  }),
  repair('a directory without folders', (disk) => {
    disk.removeDirectory('/data/consumequeues');
    disk.removeDirectory('/data/mirror');
    return new Set();
  }),
];

function repair(
  what: string,
  harm: (disk: SimulatedDisk, watched: WatchedDisk) => ReadonlySet<number> | Promise<ReadonlySet<number>>,
): Tool {
  return {
    name: `the repair of ${what}`,
    async run({ disk, watched, begin, end, fail }) {
      const lost = await harm(disk, watched);
      begin();
      const options = { nowMs: 0, isDryRun: false };
      await repairDirectory({ ...parts(watched), ...options }).catch(() => undefined);
      end();
      for (const [at, policy] of (['none', 'kill'] as const).entries()) {
        const left = disk.crash(policy, 7);
        const { refusals } = await repairDirectory({ ...parts(left), ...options, nowMs: 1 + at });
        if (refusals.length > 0) fail(`again, ${policy}: ${refusals[0]}`);
        for (const each of await look(left, '/data', lost)) fail(`after a repair, ${policy}: ${each}`);
      }
    },
  };
}

/** The tool on a directory of its own, struck or not. `sites`: which calls know the place that makes them. */
export async function runTool(
  tool: Tool,
  strikes: readonly Strike[] = [],
  sites: 'none' | 'all' | 'after the strike' = 'none',
): Promise<ToolOutcome> {
  const wrong: string[] = [];
  const disk = await filled(new SimulatedDisk({ seed: 5, capacityBytes: 1024 * 1024 * 1024 }));
  const watched = new WatchedDisk(disk, new VirtualClock(), false);
  let begun = 0;
  let ended: number | undefined;
  const attempt: Attempt = {
    disk,
    watched,
    begin() {
      begun = watched.calls.length;
      watched.namesSites = sites === 'all';
      watched.namesAfterStrike = sites === 'after the strike';
      watched.strikes = strikes;
    },
    end() {
      ended = watched.calls.length;
      watched.strikes = [];
    },
    fail: (what) => void (wrong.length < 5 && wrong.push(what)),
  };
  const unhandled = (error: unknown): void => attempt.fail(`nobody handled ${String(error)}`);
  process.on('unhandledRejection', unhandled);
  try {
    await tool.run(attempt);
    await new Promise((resolve) => setImmediate(resolve));
  } catch (error) {
    attempt.fail((error as Error).stack ?? String(error));
  } finally {
    process.off('unhandledRejection', unhandled);
  }
  if (watched.struck.length < strikes.length) wrong.push('it was never struck');
  return { wrong, calls: watched.calls.slice(begun, ended) };
}
