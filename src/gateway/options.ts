/** What a broker is started with, and its one clock: the machine's, or one that can be moved. */
import type { StartConfig } from '../config.ts';
import type { Clock } from '../util/clock.ts';
import type { Log } from '../util/log.ts';
import { StartError } from './start-error.ts';
import { openVirtualClock, readShift, VirtualClockError, type VirtualClockHandle } from './virtual-clock.ts';

export interface GatewayOptions {
  readonly config: StartConfig;
  readonly clock: Clock;
  readonly log: Log;
  /** The broker can no longer keep its promises, or an invariant of ours is broken: the process must end. */
  readonly onFatal: (error: Error) => void;
}

/** The options with the one clock of all parts: the machine's, or one that can be moved. */
export type OpenOptions = GatewayOptions & { readonly virtualClock?: VirtualClockHandle };

export async function withClock(options: GatewayOptions): Promise<OpenOptions> {
  const { config, clock } = options;
  const directory = config.memory ? undefined : config.dataDirectory;
  try {
    if (config.broker.boolean('rmq.virtual.clock')) {
      const virtualClock = await openVirtualClock(clock, directory);
      return { ...options, clock: virtualClock.clock, virtualClock };
    }
    const shiftMs = directory === undefined ? 0 : await readShift(directory);
    if (shiftMs === 0) return options;
    throw new StartError(
      `the clock of ${directory} was moved on by ${shiftMs} ms: it is a development directory, start it with --virtual-clock`,
    );
  } catch (error) {
    if (error instanceof VirtualClockError) throw new StartError(error.message);
    throw error;
  }
}
