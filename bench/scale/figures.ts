/** What the rows about scale share: measuring, and keeping the figures as lines of bench/results.jsonl. */
import { execFileSync } from 'node:child_process';
import { appendFileSync, readFileSync, statfsSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { resolve } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';

export type Figures = Record<string, number>;

/** Keeps the figures with date, commit and how busy the machine was: others may have been at work on it. */
export function keepFigures(row: string, figures: Figures, remarks: Record<string, unknown> = {}): void {
  const rounded = Object.fromEntries(
    Object.entries(figures).map(([name, value]) => [name, Number(value.toPrecision(5))]),
  );
  const line = {
    row,
    date: new Date().toISOString().slice(0, 16),
    commit: execFileSync('git', ['rev-parse', '--short', 'HEAD']).toString().trim(),
    cores: cpus().length,
    load_average: loadavg()[0],
    node: process.version,
    ...remarks,
    odradek: rounded,
  };
  appendFileSync(resolve('bench/results.jsonl'), `${JSON.stringify(line)}\n`);
  for (const [name, value] of Object.entries(rounded)) console.log(`  ${name.padEnd(44)} ${value}`);
}

export function residentMib(pid: number): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) / 1024;
}

export function mustHaveRoom(directory: string, neededBytes: number): void {
  const volume = statfsSync(directory);
  const freeBytes = volume.bavail * volume.bsize;
  if (freeBytes > neededBytes * 1.3) return;
  throw new Error(
    `${directory} has ${(freeBytes / 2 ** 30).toFixed(1)} GiB free; this needs ${((neededBytes * 1.3) / 2 ** 30).toFixed(1)}`,
  );
}

/** Asks the system to forget what it holds of the file in memory. */
export function forgetCached(path: string): void {
  execFileSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0'], { stdio: 'ignore' });
}

export function percentile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

/** Runs the action and answers how long the event loop was kept from other work meanwhile, at most. */
export async function longestBlockMs(action: () => Promise<unknown>): Promise<number> {
  const delays = monitorEventLoopDelay({ resolution: 1 });
  delays.enable();
  await action();
  await new Promise<void>((done) => setTimeout(done, 5));
  delays.disable();
  return delays.max / 1e6;
}

export function numberOption(args: readonly string[], name: string, otherwise: number): number {
  const at = args.indexOf(`--${name}`);
  const value = at < 0 ? otherwise : Number(args[at + 1]);
  if (!Number.isFinite(value)) throw new Error(`--${name} takes a number`);
  return value;
}
