/**
 * Takes the place of node-file-system.ts in the bundle of the broker under test (never in the product's): the same file calls, at one
 * of which the process kills itself as `kill -9` does.
 *
 * A kill point is `CALL FILES WHEN NUMBER`: the number-th call of that name on files of that kind, before or after it is done, or
 * when half of a write is.
 */
import { writeSync } from 'node:fs';
import type { OpenFile, OpenMode } from '../../src/storage/embedded/file-system.ts';
import { NodeFileSystem as RealFileSystem } from '../../src/storage/embedded/node-file-system.ts';
import { tickMs } from './busy-times.ts';
import type { KillPointCall as Call, KillPointMoment as When } from './kill-points-by-chance.ts';

/** Where this process tells of its calls on the log and that it runs (busy-times.ts). */
const witness = process.env.CRASH_WITNESS === undefined ? undefined : Number(process.env.CRASH_WITNESS);
let calls = 0;

function tell(what: string): void {
  if (witness !== undefined) writeSync(witness, `${what} ${process.hrtime.bigint()}\n`);
}

if (witness !== undefined) setInterval(() => tell('tick'), tickMs).unref();

let armed: { readonly key: string; left: number } | undefined;

/** An empty text arms none. */
export function armKillPoint(text: string): void {
  if (text === '') return;
  const at = text.lastIndexOf(' ');
  armed = { key: text.slice(0, at), left: Number(text.slice(at + 1)) };
}

/** The folder (commitlog, consumequeues, index, snapshots, mirror), else MANIFEST: what lies in the data directory itself. */
function filesOf(path: string): string {
  return /\/(commitlog|consumequeues|index|snapshots|mirror)(\/|$)/.exec(path)?.[1] ?? 'MANIFEST';
}

function isDue(call: Call, path: string, when: When): boolean {
  return armed !== undefined && armed.key === `${call} ${filesOf(path)} ${when}` && --armed.left === 0;
}

function pass(call: Call, path: string, when: When): void {
  if (isDue(call, path, when)) process.kill(process.pid, 'SIGKILL');
}

/** Tells how long the disk takes for a call on the log: a flush may have to wait for any of them. */
async function told<T>(path: string, action: () => Promise<T>): Promise<T> {
  if (filesOf(path) !== 'commitlog') return action();
  const call = ++calls;
  tell(`begin ${call}`);
  try {
    return await action();
  } finally {
    tell(`end ${call}`);
  }
}

async function around<T>(call: Call, path: string, action: () => Promise<T>): Promise<T> {
  pass(call, path, 'before');
  const result = await action();
  pass(call, path, 'after');
  return result;
}

function withKillPoints(file: OpenFile, path: string): OpenFile {
  const read = file.read.bind(file);
  const readInto = file.readInto.bind(file);
  const write = file.write.bind(file);
  const datasync = file.datasync.bind(file);
  const truncate = file.truncate.bind(file);
  file.read = (...args) => around('read', path, () => read(...args));
  file.readInto = (...args) => around('read', path, () => readInto(...args));
  file.write = async (buffers, position) => {
    pass('write', path, 'before');
    if (isDue('write', path, 'half')) {
      const all = Buffer.concat(buffers);
      await write([all.subarray(0, all.length >> 1)], position);
      process.kill(process.pid, 'SIGKILL');
    }
    await told(path, () => write(buffers, position));
    pass('write', path, 'after');
  };
  file.datasync = () => told(path, () => around('datasync', path, datasync));
  file.truncate = (sizeBytes) => around('truncate', path, () => truncate(sizeBytes));
  return file;
}

export class NodeFileSystem extends RealFileSystem {
  override async open(path: string, mode: OpenMode): Promise<OpenFile> {
    const creates = mode === 'create' || mode === 'replace';
    if (creates) pass('create', path, 'before');
    const file = await told(path, () => super.open(path, mode));
    if (creates) pass('create', path, 'after');
    return withKillPoints(file, path);
  }

  override syncDirectory(path: string): Promise<void> {
    return told(path, () => around('syncDirectory', path, () => super.syncDirectory(path)));
  }

  override rename(from: string, to: string): Promise<void> {
    return around('rename', to, () => super.rename(from, to));
  }

  override unlink(path: string): Promise<void> {
    return around('unlink', path, () => super.unlink(path));
  }

  override truncate(path: string, sizeBytes: number): Promise<void> {
    return around('truncate', path, () => super.truncate(path, sizeBytes));
  }
}
