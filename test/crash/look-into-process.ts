/** What a process and the disk under it are at, for the report of something that takes too long (Linux). */
import { open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** A line for each thread: what it is called, its state and what it waits for in the kernel. */
export async function threadsOf(processId: number): Promise<string> {
  const tasks = `/proc/${processId}/task`;
  const lines: string[] = [];
  for (const task of await readdir(tasks).catch(() => [] as string[])) {
    const read = (name: string): Promise<string> => readFile(join(tasks, task, name), 'utf8').catch(() => '');
    const state = /^State:\s*(.*)$/m.exec(await read('status'))?.[1] ?? '?';
    const stack = (await read('stack')).split('\n').slice(0, 8).join(' ').replace(/\s+/g, ' ');
    lines.push(`  ${(await read('comm')).trim()} ${state} ${await read('wchan')} ${stack}`);
  }
  const usedMs = async (): Promise<number> => {
    const fields = (await readFile(`/proc/${processId}/stat`, 'utf8').catch(() => '')).split(' ');
    return (Number(fields[13]) + Number(fields[14])) * 10;
  };
  const before = await usedMs();
  const startedMs = performance.now();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const share = ((await usedMs()) - before) / (performance.now() - startedMs);
  lines.push(
    Number.isNaN(share) ? '  it is gone by now' : `  it uses ${(100 * share).toFixed(0)} % of a processor`,
  );
  for (const kind of ['cpu', 'io']) {
    const pressure = await readFile(`/proc/pressure/${kind}`, 'utf8').catch(() => '');
    lines.push(`  ${kind} pressure: ${pressure.split('\n')[0]}`);
  }
  lines.push(`  load: ${(await readFile('/proc/loadavg', 'utf8').catch(() => '')).trim()}`);
  return lines.join('\n');
}

/** How long a small flush takes in that directory. */
export async function flushBeside(directory: string): Promise<string> {
  const path = join(directory, 'flush-beside');
  const startedMs = performance.now();
  const file = await open(path, 'w');
  try {
    await file.write(Buffer.alloc(4096));
    await file.datasync();
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
  return `a flush of 4 KiB beside it takes ${(performance.now() - startedMs).toFixed(0)} ms`;
}
