/** Finds out how the power can be cut here. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { PowerCutMachine } from './machine.ts';
import { ShutDownMachine } from './shut-down-machine.ts';
import { VolatileDiskMachine } from './volatile-disk-machine.ts';

const run = promisify(execFile);

/** `disk`: a disk with a write cache is cut. `shutdown`: a file system is shut down, which is judged less strictly. */
export type PowerCutModel = 'disk' | 'shutdown';

export interface PowerCutChoice {
  readonly make: ((seed: number, parent?: string) => Promise<PowerCutMachine>) | undefined;
  /** Why a model, or any cut, is not to be had. */
  readonly missing: readonly string[];
}

/** The first of the models that works here, after a trial. `root`: the project's. */
export async function choosePowerCuts(
  root: string,
  models: readonly PowerCutModel[] = ['disk', 'shutdown'],
): Promise<PowerCutChoice> {
  const missing: string[] = [];
  if (process.platform !== 'linux') return { make: undefined, missing: ['it is no Linux'] };
  if (process.getuid?.() !== 0) return { make: undefined, missing: ['it is not run by root'] };
  for (const model of models) {
    const make = (seed: number, parent?: string): Promise<PowerCutMachine> =>
      model === 'disk' ? VolatileDiskMachine.make(root, seed, parent) : ShutDownMachine.make(parent);
    const why = await whyNot(() => make(1));
    if (why === undefined) return { make, missing };
    missing.push(`${model}: ${why}`);
  }
  return { make: undefined, missing };
}

async function whyNot(make: () => Promise<PowerCutMachine>): Promise<string | undefined> {
  try {
    for (const [program, ...args] of [
      ['mkfs.ext4', '-V'],
      ['python3', '-V'],
      ['losetup', '-f'],
    ]) {
      await run(program!, args);
    }
    const machine = await make();
    try {
      await machine.strike({ kill: async () => 'nobody' });
    } finally {
      await machine.remove(false);
    }
    return undefined;
  } catch (error) {
    return `a trial failed: ${(error as Error).message.split('\n')[0]}`;
  }
}
