/** `odradek log`: runs one of its actions and answers the exit code. */
import { resolve } from 'node:path';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { isBatchIntact, isBatchStamped, stampBatch } from '../../../protocol/records/record-batch.ts';
import { UsageError } from '../../command-line.ts';
import { layoutOf } from '../../storage/embedded/directory-layout.ts';
import { isDirectoryHeld } from '../../storage/embedded/directory-lock.ts';
import { DirectoryInUseError, errorCodeOf } from '../../storage/embedded/file-system.ts';
import { ManifestError } from '../../storage/embedded/manifest.ts';
import { NodeFileSystem } from '../../storage/embedded/node-file-system.ts';
import { repairDirectory } from '../../storage/embedded/offline/repair.ts';
import { surveyDirectory } from '../../storage/embedded/offline/survey.ts';
import type { SurveyParts } from '../../storage/embedded/offline/survey-result.ts';
import { dump } from './dump.ts';
import { type LogCommandLine, logUsage, parseLogCommandLine } from './log-usage.ts';
import { nameOf, queueNames } from './queue-names.ts';

const exitCodes = { clean: 0, damaged: 1, refused: 2 } as const;

export interface LogCommandStreams {
  readonly out: NodeJS.WritableStream;
  readonly err: NodeJS.WritableStream;
}

/** `args` behind `log`. */
export async function runLogCommand(
  args: readonly string[],
  { out, err }: LogCommandStreams,
): Promise<number> {
  let commandLine: LogCommandLine | undefined;
  try {
    commandLine = parseLogCommandLine(args);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    err.write(`odradek: ${error.message}\n\n${logUsage}`);
    return exitCodes.refused;
  }
  if (commandLine === undefined) {
    out.write(logUsage);
    return exitCodes.clean;
  }
  // A reader like `head` that has seen enough is no fault.
  out.on('error', (error: unknown) => {
    if (errorCodeOf(error) === 'EPIPE') process.exit(exitCodes.clean);
    throw error;
  });
  const print = async (line: string): Promise<void> => {
    if (out.write(`${line}\n`)) return;
    await new Promise<void>((drained) => out.once('drain', () => drained()));
  };
  const fileSystem = new NodeFileSystem();
  const root = resolve(commandLine.directory);
  try {
    if ((await fileSystem.stat(root))?.isDirectory !== true) {
      err.write(`odradek: ${root} is not a directory\n`);
      return exitCodes.refused;
    }
    const isHeld = await isDirectoryHeld(root);
    const format = { stamp: stampBatch, isStamped: isBatchStamped, isIntact: isBatchIntact };
    const parts: SurveyParts = { fileSystem, layout: layoutOf(root), crc32c, format, isHeld };
    if (isHeld && commandLine.action !== 'repair') {
      err.write(`a broker holds ${root}: only what is durable is looked at\n`);
    }
    if (commandLine.action === 'dump') {
      return (await dump(parts, commandLine, print)) ? exitCodes.damaged : exitCodes.clean;
    }
    if (commandLine.action === 'verify') return await verify(parts, commandLine, print);
    return await repair(parts, commandLine, print);
  } catch (error) {
    const isForOperator =
      error instanceof DirectoryInUseError ||
      error instanceof ManifestError ||
      error instanceof RangeError ||
      errorCodeOf(error) !== undefined;
    if (!isForOperator) throw error;
    err.write(`odradek: ${(error as Error).message}\n`);
    return exitCodes.refused;
  }
}

type Print = (line: string) => Promise<void>;

async function verify(parts: SurveyParts, { isJson }: LogCommandLine, print: Print): Promise<number> {
  const startedMs = performance.now();
  const { findings, counts, table, manifest } = await surveyDirectory(parts);
  const names = queueNames(table);
  const damage = findings.filter(({ severity }) => severity === 'damage');
  for (const finding of findings) {
    const { queue } = finding;
    if (isJson) {
      const name = queue === undefined ? undefined : names.get(queue);
      await print(JSON.stringify({ ...finding, ...name }));
    } else {
      const of = queue === undefined || !names.has(queue) ? '' : ` [${nameOf(names, queue)}]`;
      await print(`${finding.severity === 'damage' ? 'DAMAGE' : 'remark'}  ${finding.message}${of}`);
    }
  }
  const seconds = Number(((performance.now() - startedMs) / 1000).toFixed(2));
  if (isJson) {
    await print(
      JSON.stringify({ summary: { ...counts, damage: damage.length, findings: findings.length, seconds } }),
    );
  } else {
    await print(
      `${counts.segments} segments, ${counts.entries} entries, ${counts.payloadBytes} payload bytes, ${counts.rows} index rows, ` +
        `${counts.indexRows} rows of the ordered index, ${counts.queues} queues in ${seconds} s`,
    );
    await print(
      damage.length === 0
        ? 'nothing is damaged'
        : `${damage.length} places are damaged${manifest === undefined ? '; there is no manifest that can be read' : ''}. ` +
            `odradek log repair ${parts.layout.root} repairs what can be`,
    );
  }
  return damage.length === 0 ? exitCodes.clean : exitCodes.damaged;
}

async function repair(parts: SurveyParts, commandLine: LogCommandLine, print: Print): Promise<number> {
  const { fileSystem, layout } = parts;
  const { isJson, isDryRun } = commandLine;
  // A dry run changes nothing, but what it says is true of a directory at rest only.
  const lock = await fileSystem.lock(layout.root);
  try {
    const report = await repairDirectory({ ...parts, nowMs: Date.now(), isDryRun });
    for (const { file, message } of report.actions) {
      const line = isDryRun ? `would repair ${file}: ${message}` : `repaired ${file}: ${message}`;
      await print(isJson ? JSON.stringify({ file, message, isDone: !isDryRun }) : line);
    }
    for (const refusal of report.refusals) {
      await print(isJson ? JSON.stringify({ refused: refusal }) : `NOT REPAIRED: ${refusal}`);
    }
    const after = isDryRun ? undefined : await surveyDirectory({ ...parts, isHeld: false });
    const left = after?.findings.filter(({ severity }) => severity === 'damage').length ?? 0;
    const { sideDirectory } = report;
    if (isJson)
      await print(JSON.stringify({ summary: { repaired: report.actions.length, left, sideDirectory } }));
    else if (report.actions.length === 0 && report.refusals.length === 0)
      await print('there is nothing to repair');
    else if (sideDirectory !== undefined) await print(`what was replaced is kept in ${sideDirectory}`);
    return report.refusals.length > 0 || left > 0 ? exitCodes.damaged : exitCodes.clean;
  } finally {
    await lock.release();
  }
}
