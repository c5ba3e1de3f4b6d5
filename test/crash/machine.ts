/** What the broker runs on, and how it is struck down: its process killed, or the power cut (power-cut-machine.ts). */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BrokerProcess } from './broker-process.ts';

export interface Machine {
  readonly dataDirectory: string;
  /** True where what was written outlives the strike; else only what was flushed does. */
  readonly keepsWritten: boolean;
  /** Strikes the broker down. It is gone when this resolves, and the machine is up again. Answers when it struck (monotonic). */
  strike(broker: BrokerProcess): Promise<number>;
  /** `keep`: the data stays, to be looked at. */
  remove(keep: boolean): Promise<void>;
}

/** kill -9: the machine and its page cache stay as they are. */
export async function machineOfKills(parent = tmpdir()): Promise<Machine> {
  const dataDirectory = await mkdtemp(join(parent, 'odradek-crash-'));
  return {
    dataDirectory,
    keepsWritten: true,
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
