/** Many damages, one after the other, over the prepared directories. */
import { crc32c } from '../../protocol/records/crc32c.ts';
import { layoutOf } from '../../src/storage/embedded/directory-layout.ts';
import { surveyDirectory } from '../../src/storage/embedded/offline/survey.ts';
import { kindOfFile } from './damages.ts';
import { judge, type LogMap, mapLog } from './judge.ts';
import { batchFormat, type Prepared, prepare, root } from './prepared.ts';

export interface DamageRun {
  readonly count: number;
  readonly seed: number;
  /** One damage of the run alone, by its number. */
  readonly only?: number | undefined;
  report(line: string): void;
}

export interface DamageResult {
  readonly passed: number;
  readonly failed: number;
  readonly summary: string;
  readonly failures: readonly string[];
}

const mostFailures = 20;

export async function prepareAll(seed: number): Promise<readonly (Prepared & { readonly map: LogMap })[]> {
  const all: Prepared[] = [];
  for (const isClosed of [true, false]) {
    for (const isCleaned of [true, false]) {
      const name = `${isClosed ? 'closed' : 'killed'}${isCleaned ? ', cleaned' : ''}`;
      all.push(await prepare(name, seed + all.length, { isClosed, isCleaned, hasTail: false }));
    }
  }
  const unsealed = { isClosed: false, isCleaned: false, hasTail: true };
  all.push(await prepare('killed, not sealed', seed + all.length, unsealed));
  const mapped = [];
  for (const prepared of all) mapped.push({ ...prepared, map: await mapLog(prepared.files) });
  return mapped;
}

export async function runDamages({ count, seed, only, report }: DamageRun): Promise<DamageResult> {
  const prepared = await prepareAll(seed);
  // First that nothing is found where nothing is damaged.
  for (const { name, files } of prepared) {
    const parts = { fileSystem: files, layout: layoutOf(root), crc32c, format: batchFormat, isHeld: false };
    const { findings } = await surveyDirectory(parts);
    const found = findings.filter(({ kind }) => kind !== 'tail' && kind !== 'stray');
    if (found.length > 0) report(`FAILED ${name}: verify found without a damage: ${found[0]!.message}`);
    if (found.length > 0) return { passed: 0, failed: 1, summary: '', failures: [found[0]!.message] };
  }
  const failures: string[] = [];
  const byFile = new Map<string, number>();
  const totals = { damages: 0, refused: 0, served: 0, lostBefore: 0, lostAfter: 0 };
  for (let number = only ?? 0; number < (only === undefined ? count : only + 1); number++) {
    const directory = prepared[number % prepared.length]!;
    // The number of a damage that would change nothing is counted on.
    let verdict: Awaited<ReturnType<typeof judge>>;
    for (let salt = 0; verdict === undefined; salt++) {
      const own = (Math.imul(seed ^ (salt * 7919), 0x9e3779b1) + number) >>> 0;
      try {
        verdict = await judge(directory, directory.map, own);
      } catch (error) {
        failures.push(`number ${number} (${directory.name}): ${(error as Error).stack}`);
        break;
      }
    }
    totals.damages++;
    if (verdict === undefined) {
      report(`FAILED ${failures.at(-1)}`);
    } else {
      const kind = kindOfFile(verdict.damage.path);
      byFile.set(kind, (byFile.get(kind) ?? 0) + 1);
      totals[verdict.outcome]++;
      totals.lostBefore += verdict.lostBefore;
      totals.lostAfter += verdict.lostAfter;
      if (verdict.wrong.length > 0) {
        const text = `number ${number} (${directory.name}), ${verdict.damage.text}: ${verdict.wrong.slice(0, 3).join(' | ')}`;
        failures.push(text);
        report(`FAILED ${text}`);
      }
    }
    if (failures.length >= mostFailures) break;
    if ((number + 1) % 1000 === 0) report(`${number + 1} damages, ${failures.length} failed`);
  }
  const files = [...byFile].sort().map(([kind, times]) => `${kind} ${times}`);
  const summary =
    `${totals.damages} damages (${files.join(', ')}): ${totals.served} starts served, ${totals.refused} refused; ` +
    `${totals.lostBefore} entries lost before the repair, ${totals.lostAfter} after`;
  return { passed: totals.damages - failures.length, failed: failures.length, summary, failures };
}
