/** Two brokers' steps of one scenario, field by field. */
import { allowedDifferences } from './allowed.ts';
import type { Step } from './peer.ts';
import type { Plain } from './plain.ts';

export interface Difference {
  readonly path: string;
  readonly ours: Plain | undefined;
  readonly kafkas: Plain | undefined;
}

export interface Verdict {
  readonly step: string;
  readonly differences: readonly Difference[];
  /** Why the differences that were found and let go are right. */
  readonly allowed: readonly string[];
}

export function compareSteps(scenario: string, ours: readonly Step[], kafkas: readonly Step[]): Verdict[] {
  const verdicts: Verdict[] = [];
  for (let index = 0; index < Math.max(ours.length, kafkas.length); index++) {
    const [mine, theirs] = [ours[index], kafkas[index]];
    const titles = [mine, theirs].map((step) => step && `${step.api} v${step.version}: ${step.label}`);
    const step = `${scenario} / ${titles[0] ?? titles[1]}`;
    if (mine === undefined || theirs === undefined || titles[0] !== titles[1]) {
      const difference = { path: 'step', ours: titles[0], kafkas: titles[1] };
      verdicts.push({ step, differences: [difference], allowed: [] });
      break; // what follows is out of step, too
    }
    const found: Difference[] = [];
    if (mine.broken !== undefined || theirs.broken !== undefined) {
      found.push({ path: 'broken', ours: mine.broken ?? null, kafkas: theirs.broken ?? null });
    }
    compare('', mine.outcome, theirs.outcome, found);
    const allowed: string[] = [];
    const differences = found.filter((difference) => {
      const rule = allowedDifferences.find(
        (one) =>
          (one.api === undefined || one.api === mine.api) &&
          (one.before === undefined || mine.version < one.before) &&
          one.path.test(difference.path) &&
          (one.label === undefined || one.label.test(`${scenario} / ${mine.label}`)) &&
          (one.holds === undefined || one.holds(difference.ours, difference.kafkas)),
      );
      if (rule !== undefined) allowed.push(rule.why);
      return rule === undefined;
    });
    verdicts.push({ step, differences, allowed });
  }
  return verdicts;
}

function compare(
  path: string,
  ours: Plain | undefined,
  kafkas: Plain | undefined,
  found: Difference[],
): void {
  if (ours === kafkas) return;
  if (Array.isArray(ours) && Array.isArray(kafkas)) {
    const [mine, theirs] = [byName(ours), byName(kafkas)];
    if (mine !== undefined && theirs !== undefined) {
      for (const name of new Set([...mine.keys(), ...theirs.keys()])) {
        compare(`${path}[${name}]`, mine.get(name), theirs.get(name), found);
      }
      return;
    }
    if (ours.length !== kafkas.length) {
      found.push({ path: `${path}.length`, ours, kafkas });
      return;
    }
    for (const [index, item] of ours.entries()) compare(`${path}[${index}]`, item, kafkas[index], found);
    return;
  }
  if (isObject(ours) && isObject(kafkas)) {
    for (const field of new Set([...Object.keys(ours), ...Object.keys(kafkas)])) {
      compare(path === '' ? field : `${path}.${field}`, ours[field], kafkas[field], found);
    }
    return;
  }
  found.push({ path: path === '' ? 'answer' : path, ours, kafkas });
}

/** Rows that have a name each, by their names: what one broker lacks does not put the others out of step. */
function byName(rows: readonly Plain[]): ReadonlyMap<string, Plain> | undefined {
  const named = new Map<string, Plain>();
  for (const row of rows) {
    if (!isObject(row) || typeof row.name !== 'string' || named.has(row.name)) return undefined;
    named.set(row.name, row);
  }
  return named.size > 0 ? named : undefined;
}

function isObject(value: Plain | undefined): value is { readonly [field: string]: Plain } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
