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
  const pressure = await readFile('/proc/pressure/io', 'utf8').catch(() => '');
  return [...lines, pressure.trim()].join('\n');
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
