/**
 * How much of the machine others take while a test runs: all processor time in use, less that of this process, of the broker that it watches
 * and of those before it. Where the system does not tell (no /proc) nobody else is assumed.
 */
import { readFile } from 'node:fs/promises';

interface Look {
  readonly totalTicks: number;
  readonly busyTicks: number;
  readonly ownTicks: number;
}

export class MachineUsage {
  private totalTicks = 0;
  private othersTicks = 0;
  private last: (Look & { readonly processId: number }) | undefined;

  /** Called again and again; `processId` is the broker's. */
  async look(processId: number): Promise<void> {
    const [machine, self, broker] = await Promise.all(
      ['/proc/stat', '/proc/self/stat', `/proc/${processId}/stat`].map((path) =>
        readFile(path, 'utf8').catch(() => ''),
      ),
    );
    const times = machine!.split('\n')[0]!.split(/\s+/).slice(1, 9).map(Number);
    if (times.length < 8 || self === '' || broker === '') return;
    const totalTicks = times.reduce((sum, ticks) => sum + ticks, 0);
    const busyTicks = totalTicks - times[3]! - times[4]!;
    const ownTicks = ticksOf(self!) + ticksOf(broker!);
    const { last } = this;
    this.last = { totalTicks, busyTicks, ownTicks, processId };
    // What a broker used at its end is not known when it is gone.
    if (last === undefined || last.processId !== processId) return;
    this.totalTicks += totalTicks - last.totalTicks;
    this.othersTicks += Math.max(0, busyTicks - last.busyTicks - (ownTicks - last.ownTicks));
  }

  othersShare(): number {
    return this.totalTicks === 0 ? 0 : this.othersTicks / this.totalTicks;
  }
}

/** User and system time of the process itself. */
function ticksOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}
