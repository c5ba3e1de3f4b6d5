/** What the broker runs on, and how it is struck down: its process killed, or the power cut (volatile-disk-machine.ts, shut-down-machine.ts). */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A process that is struck down with the machine: the broker, or what stands in for it. */
export interface Struck {
  kill(): Promise<string>;
}

export interface Machine {
  readonly dataDirectory: string;
  /** True where what was written outlives the strike; else only what was flushed does. */
  readonly keepsWritten: boolean;
  /** True where a flush that the strike overtakes may report success for what is lost, as no real cut makes it. */
  readonly mayFeignFlushes: boolean;
  /** Strikes the broker down. It is gone when this resolves, and the machine is up again. Answers when it struck (monotonic). */
  strike(broker: Struck): Promise<number>;
  /** `keep`: the data stays, to be looked at. */
  remove(keep: boolean): Promise<void>;
}

export interface PowerCutMachine extends Machine {
  /** What was cut, in words. */
  summary(): string;
}

/** kill -9: the machine and its page cache stay as they are. */
export async function machineOfKills(parent = tmpdir()): Promise<Machine> {
  const dataDirectory = await mkdtemp(join(parent, 'odradek-crash-'));
  return {
    dataDirectory,
    keepsWritten: true,
    mayFeignFlushes: false,
    strike: async (broker) => {
      const atMs = performance.now();
      await broker.kill();
      return atMs;
    },
    remove: async (keep) => {
      if (!keep) await rm(dataDirectory, { recursive: true });
    },
  };
}
