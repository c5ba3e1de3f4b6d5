/**
 * node scripts/run-ts.mjs test/crash/calibrate-power-cuts.ts [--cuts N] [--seed S] [--model disk|shutdown]
 *
 * Tests the ways to cut the power, without a broker: a program appends and flushes, the power is cut, and what was reported as flushed
 * is looked for. A disk with a write cache must keep all of it. A file system that is shut down may lose what a flush reported that
 * was under way when the shutdown began, and nothing else. Ends with `N passed, N failed`.
 */
import { spawn } from 'node:child_process';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { seededRandom } from '../fakes/simulated-disk.ts';
import type { PowerCutMachine } from './machine.ts';
import { choosePowerCuts, type PowerCutModel } from './power-cut-machines.ts';

const threads = 4;

interface Flush {
  readonly file: number;
  readonly number: number;
  readonly begunMs: number;
  readonly endedMs: number;
}

interface Found {
  kept: number;
  lostBefore: number;
  lostAfter: number;
  /** Flushed after the beginning of the cut, kept or not. */
  after: number;
}

const { values } = parseArgs({
  options: {
    cuts: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    model: { type: 'string' },
  },
});
const root = resolve(dirname(process.argv[1]!), '../..');
const random = seededRandom(Number(values.seed));
let passed = 0;
let failed = 0;
for (const model of ['disk', 'shutdown'] as const satisfies readonly PowerCutModel[]) {
  if (values.model !== undefined && values.model !== model) continue;
  const { make, missing } = await choosePowerCuts(root, [model]);
  if (make === undefined) {
    console.log(`${model}: NOT CALIBRATED: ${missing.join('; ')}`);
    continue;
  }
  const machine = await make(Number(values.seed));
  const found: Found = { kept: 0, lostBefore: 0, lostAfter: 0, after: 0 };
  try {
    for (let cut = 1; cut <= Number(values.cuts); cut++) await cutOnce(machine, found);
  } finally {
    await machine.remove(false);
  }
  const { kept, lostBefore, lostAfter, after } = found;
  console.log(
    `${model}: ${values.cuts} cuts; ${kept} flushes reported and kept; lost ${lostBefore} that ended before the cut and ${lostAfter} of ${after} that ` +
      'ended after its beginning',
  );
  if (lostBefore === 0 && (machine.mayFeignFlushes || lostAfter === 0)) passed++;
  else failed++;
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function cutOnce(machine: PowerCutMachine, found: Found): Promise<void> {
  const directory = machine.dataDirectory;
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory);
  const child = spawn('python3', [join(root, 'test/crash/flush-witness.py'), directory, String(threads)]);
  let output = '';
  child.stdout.on('data', (part: Buffer) => {
    output += part.toString();
  });
  const ended = new Promise<string>((resolve) => child.once('close', () => resolve('closed')));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  await new Promise((resolve) => setTimeout(resolve, 40 + random() * 150));
  const isHeldByDisk = !machine.mayFeignFlushes;
  const cutMs = await machine.strike({
    kill: async () => {
      // What a shutdown overtakes must have the time to end, for that is what is looked at.
      if (isHeldByDisk) child.kill('SIGKILL');
      return ended;
    },
  });
  // As the machine tells it, in the words of performance.now.
  const offsetMs = Number(process.hrtime.bigint()) / 1e6 - performance.now();
  const files = new Map<number, Buffer>();
  const lengths = new Map<number, number>();
  for (const line of output.split('\n').slice(0, -1)) {
    const [file, number, begun, endedAt] = line.split(' ').map(Number) as [number, number, number, number];
    const flush: Flush = {
      file,
      number,
      begunMs: begun * 1000 - offsetMs,
      endedMs: endedAt * 1000 - offsetMs,
    };
    if (!files.has(file))
      files.set(file, await readFile(join(directory, `file${file}`)).catch(() => Buffer.alloc(0)));
    const from = lengths.get(file) ?? 0;
    const expected = Buffer.alloc(16 * (1 + ((number * 7919) % 512)), `${String(number).padStart(15, '0')} `);
    lengths.set(file, from + expected.length);
    const isKept = files
      .get(file)!
      .subarray(from, from + expected.length)
      .equals(expected);
    const isAfter = flush.endedMs >= cutMs;
    if (isAfter) found.after++;
    if (isKept) found.kept++;
    else if (isAfter) found.lostAfter++;
    else found.lostBefore++;
  }
}
