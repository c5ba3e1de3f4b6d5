/**
 * `odradek backup`: a copy of a broker's data. Of a running broker by asking it over its HTTP side, of a stopped one by opening its
 * data directory; and the verification of a backup, which needs neither.
 */
import { request } from 'node:http';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { parseHostPort } from '../../connection/listener-config.ts';
import { recordBatches } from '../../record-batches.ts';
import type { BackupReport } from '../../storage/backup.ts';
import { resolveDestination } from '../../storage/backup-destination.ts';
import { verifyBackup } from '../../storage/embedded/backup-verify.ts';
import { openEmbeddedEngine } from '../../storage/embedded/embedded-engine.ts';
import { NodeFileSystem } from '../../storage/embedded/node-file-system.ts';

export const backupUsage = `Usage: odradek backup DEST --admin HOST:PORT [--copy] [--verify]
       odradek backup DEST --data DIR [--copy] [--verify]
       odradek backup DEST --verify

Makes DEST, a directory that is empty or does not exist yet, a copy of all data as of one moment: topics, records, committed
offsets, settings. Start a broker on it with: odradek --data DEST

  --admin HOST:PORT  of a running broker, by its HTTP side (the broker's own --admin); it goes on meanwhile. DEST is a path
                     on the broker's machine
  --data DIR         of a broker that is stopped
  --copy             share no files with the data directory, also where the file system could (hard links)
  --verify           read the whole backup and check every checksum; alone, of a backup that was made before
  --help
`;

interface Output {
  write(text: string): unknown;
}

interface Asked {
  readonly destination: string;
  readonly admin: string | undefined;
  readonly data: string | undefined;
  readonly copy: boolean;
  readonly verify: boolean;
}

const exitCodes = { done: 0, failed: 1, usage: 2 } as const;

/** The process' exit code. `args` without the program and `backup`. */
export async function backupCommand(
  args: readonly string[],
  output: Output,
  errors: Output,
): Promise<number> {
  const asked = understand(args);
  if (typeof asked === 'string') {
    errors.write(`odradek backup: ${asked}\n\n${backupUsage}`);
    return exitCodes.usage;
  }
  if (asked === undefined) {
    output.write(backupUsage);
    return exitCodes.done;
  }
  try {
    if (asked.admin !== undefined) output.write(said(await askBroker(asked.admin, asked)));
    else if (asked.data !== undefined) output.write(said(await backUpStopped(asked.data, asked)));
    if (!asked.verify) return exitCodes.done;
    return await verify(asked.destination, output, errors);
  } catch (error) {
    errors.write(`odradek backup: ${explained(error as NodeJS.ErrnoException, asked)}\n`);
    return exitCodes.failed;
  }
}

/** What is asked for; a text where it cannot be understood; undefined where help is. */
function understand(args: readonly string[]): Asked | string | undefined {
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(args);
  } catch (error) {
    return (error as Error).message;
  }
  const { values, positionals } = parsed;
  if (values.help === true) return undefined;
  const { admin, data, copy = false, verify: isVerified = false } = values;
  if (positionals.length !== 1 || positionals[0] === '') return 'there must be one DEST';
  if (admin !== undefined && data !== undefined) return 'either --admin or --data, not both';
  if (admin === undefined && data === undefined) {
    if (!isVerified) return '--admin HOST:PORT of a running broker or --data DIR of a stopped one is needed';
    if (copy) return '--copy says nothing where no backup is made';
  }
  return { destination: resolve(positionals[0]!), admin, data, copy, verify: isVerified };
}

function parse(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    strict: true,
    allowPositionals: true,
    options: {
      admin: { type: 'string' },
      data: { type: 'string' },
      copy: { type: 'boolean' },
      verify: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
}

/** However long it takes: only the broker knows. */
function askBroker(admin: string, { destination, copy }: Asked): Promise<BackupReport> {
  const { host, port } = parseHostPort(admin, '--admin');
  const body = JSON.stringify({ destination, copy });
  return new Promise((done, failed) => {
    const asking = request(
      {
        host: host.replace(/^\[|\]$/g, ''),
        port,
        path: '/api/v1/backup',
        method: 'POST',
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      },
      (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('error', failed);
        response.on('end', () => {
          const text = Buffer.concat(parts).toString('utf8');
          const answer = answerIn(text);
          if (response.statusCode === 200 && answer !== undefined) done(answer as unknown as BackupReport);
          else failed(new Error(String(answer?.['error'] ?? `the broker answered ${response.statusCode}`)));
        });
      },
    );
    asking.on('error', failed);
    asking.end(body);
  });
}

function answerIn(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

/** Opens the data as a start would, so that one that was killed is put right first. */
async function backUpStopped(data: string, asked: Asked): Promise<BackupReport> {
  const directory = resolve(data);
  const fileSystem = new NodeFileSystem();
  const copies = [`${directory}/MANIFEST`, `${directory}/mirror/MANIFEST`];
  const found = await Promise.all(copies.map((path) => fileSystem.stat(path)));
  if (found.every((info) => info === undefined)) throw new Error(`${data} is no data directory of Odradek`);
  const destination = await resolveDestination(directory, asked.destination);
  const engine = await openEmbeddedEngine({
    directory,
    payloadFormat: recordBatches,
    crc32c,
    // Whatever the broker's limits are: nothing is forgotten here.
    producerLimits: { maxProducers: Number.MAX_SAFE_INTEGER, expirationMs: Number.MAX_SAFE_INTEGER },
  });
  try {
    return await engine.backup({ destination, mayLink: !asked.copy });
  } finally {
    await engine.close();
  }
}

function said(report: BackupReport): string {
  const copied = report.files - report.linkedFiles;
  return (
    `backed up ${report.files} files, ${shown(report.sizeBytes)}, up to ${report.position} to ${report.destination} ` +
    `in ${(report.durationMs / 1000).toFixed(2)} s: ${report.linkedFiles} linked, ${copied} copied (${shown(report.copiedBytes)})\n`
  );
}

function shown(bytes: number): string {
  if (bytes >= 2 ** 30) return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  return bytes >= 2 ** 20 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${(bytes / 1024).toFixed(1)} KiB`;
}

async function verify(directory: string, output: Output, errors: Output): Promise<number> {
  const { faults, listing } = await verifyBackup({
    fileSystem: new NodeFileSystem(),
    directory,
    crc32c,
    payloadFormat: recordBatches,
  });
  for (const fault of faults) errors.write(`${fault}\n`);
  if (faults.length > 0 || listing === undefined) {
    errors.write(`odradek backup: ${directory} is not a whole backup\n`);
    return exitCodes.failed;
  }
  const bytes = listing.files.reduce((sum, file) => sum + file.sizeBytes, 0);
  output.write(
    `verified ${listing.files.length} files, ${shown(bytes)}, made ${listing.createdAt}: the backup is whole\n`,
  );
  return exitCodes.done;
}

function explained(error: NodeJS.ErrnoException, { admin, data }: Asked): string {
  if (error.name === 'DirectoryInUseError') {
    return `a broker is running on ${data}: give --admin HOST:PORT of it instead of --data`;
  }
  if (error.code === 'ECONNREFUSED') {
    return `nothing answers at ${admin}: is the broker running, with --admin ${admin}?`;
  }
  return error.message;
}
