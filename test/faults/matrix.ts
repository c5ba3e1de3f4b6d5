/**
 * node scripts/run-ts.mjs test/faults/matrix.ts [--sites] [--every N]
 *
 * The fault matrix in full: every place of the engine that makes a file call, with every fault that the call can meet, at the first and
 * the last time it is made (--every N: at every Nth of all calls instead; --sites: as few faults as show the places). First in a
 * life without mishap; then, for what only mends a mishap, after that mishap (test/storage/mishaps.ts); then, for what only follows upon
 * a fault, as a second fault after that. Fails where a place is never struck. Node must be told --enable-source-maps. Ends with
 * `N passed, N failed`.
 */
import { dirname, resolve } from 'node:path';
import type { CallFault, Strike, WatchedCall } from '../fakes/watched-disk.ts';
import { callSites } from '../storage/call-sites.ts';
import { describeStrike, faultsOf, type Mishap, type Outcome, runScenario } from '../storage/fault-matrix.ts';
import { mishaps } from '../storage/mishaps.ts';
import { runTool, type Tool, tools } from '../storage/tool-faults.ts';

const root = resolve(dirname(process.argv[1]!), '../..');
const at = process.argv.indexOf('--every');
const every = at < 0 ? 0 : Number(process.argv[at + 1]);
const isQuick = process.argv.includes('--sites');
const startMs = performance.now();
let passed = 0;
let failed = 0;

function verdict(what: string, wrong: readonly string[]): void {
  if (wrong.length === 0) passed++;
  else {
    failed++;
    console.log(`FAILED: ${what}: ${wrong.join('; ')}`);
  }
}

const keyOf = ({ site, call }: Pick<WatchedCall, 'site' | 'call'>): string => `${site} ${call}`;
const sites = new Map(callSites(root).map(({ site, call, name }) => [`${site} ${call}`, name]));
/** Places that faults struck. */
const struck = new Set<string>();
/** How a place comes about that was not struck yet: the call there, after a fault. */
const reachedBy = new Map<string, { first: Strike; call: WatchedCall; mishap: Mishap | undefined }>();

function bySite(calls: readonly WatchedCall[]): Map<string, WatchedCall[]> {
  const found = new Map<string, WatchedCall[]>();
  for (const call of calls) found.set(keyOf(call), [...(found.get(keyOf(call)) ?? []), call]);
  return found;
}

/** Strikes one call, and notes what place came about by it for the first time. */
async function strike(call: WatchedCall, fault: CallFault, mishap: Mishap | undefined): Promise<void> {
  const first = { number: call.number, fault };
  const outcome: Outcome = await runScenario([first], 'after the strike', mishap);
  const wrong = outcome.struck.length === 0 ? ['it was never struck'] : outcome.wrong;
  verdict(describeStrike(call, fault) + (mishap === undefined ? '' : `, ${mishap.name}`), wrong);
  struck.add(keyOf(call));
  for (const later of outcome.calls) {
    const key = keyOf(later);
    if (sites.has(key) && !reachedBy.has(key)) reachedBy.set(key, { first, call: later, mishap });
  }
}

/** Faults of a call; of those only that it takes, where places are all that is wanted. */
function faultsFor(call: WatchedCall): readonly CallFault[] {
  return isQuick ? faultsOf(call).filter(({ kind }, index) => kind === 'error' && index < 2) : faultsOf(call);
}

async function strikeAll(mishap: Mishap | undefined): Promise<void> {
  const whole = await runScenario([], 'all', mishap);
  verdict(`without a fault${mishap === undefined ? '' : `, ${mishap.name}`}`, whole.wrong);
  for (const [key, calls] of bySite(whole.calls)) {
    if (struck.has(key)) continue;
    for (const call of new Set([calls[0]!, calls.at(-1)!]))
      for (const fault of faultsFor(call)) await strike(call, fault, mishap);
    if (calls[0]!.call !== 'FileSystem.open') continue;
    // Whoever opens may stand in several other places, each with more to put right than the call itself.
    for (let part = 1; part < 8; part++) {
      const call = calls[Math.floor((part * calls.length) / 8)]!;
      await strike(call, { kind: 'error', code: 'ENOSPC' }, mishap);
    }
  }
  // A file system without a reserve is full at once: what follows upon that.
  if (mishap?.settings?.reserveBytes === 0) {
    const call = whole.calls.find(
      ({ call: name, path }) => name === 'OpenFile.write' && path.endsWith('.log'),
    )!;
    await strike(call, { kind: 'error', code: 'ENOSPC', part: 0.5 }, mishap);
  }
}

/** What a tool does that nothing before did, and then what it does upon a fault alone. */
async function strikeTool(tool: Tool): Promise<void> {
  const whole = await runTool(tool, [], 'all');
  verdict(`${tool.name} without a fault`, whole.wrong);
  const after = new Map<string, { first: Strike; call: WatchedCall }>();
  for (const [key, calls] of bySite(whole.calls)) {
    if (struck.has(key)) continue;
    struck.add(key);
    for (const call of new Set([calls[0]!, calls.at(-1)!])) {
      for (const fault of faultsFor(call)) {
        if (fault.kind === 'slow') continue; // nobody waits for a tool
        const first = { number: call.number, fault };
        const { wrong, calls: made } = await runTool(tool, [first], 'after the strike');
        verdict(`${tool.name}: ${describeStrike(call, fault)}`, wrong);
        for (const later of made) after.set(keyOf(later), { first, call: later });
      }
    }
  }
  for (const [key, { first, call }] of after) {
    if (struck.has(key) || !sites.has(key)) continue;
    struck.add(key);
    for (const fault of faultsFor(call)) {
      if (fault.kind === 'slow') continue;
      const { wrong } = await runTool(tool, [first, { number: call.number, fault }]);
      verdict(
        `${tool.name}: ${describeStrike(call, fault)}, after a ${first.fault.kind} at ${first.number}`,
        wrong,
      );
    }
  }
}

if (every > 0) {
  const whole = await runScenario([], 'all');
  verdict('without a fault', whole.wrong);
  for (const call of whole.calls.filter(({ number }) => number % every === 0))
    for (const fault of faultsOf(call)) await strike(call, fault, undefined);
} else {
  await strikeAll(undefined);
  const plain = struck.size;
  for (const mishap of mishaps) await strikeAll(mishap);
  const mended = struck.size;
  for (const [key, { first, call, mishap }] of [...reachedBy]) {
    if (struck.has(key)) continue;
    struck.add(key);
    for (const fault of faultsFor(call)) {
      const strikes = [first, { number: call.number, fault }];
      const outcome = await runScenario(strikes, 'none', mishap);
      const wrong = outcome.struck.length < 2 ? ['it was never struck'] : outcome.wrong;
      verdict(`${describeStrike(call, fault)}, after a ${first.fault.kind} at ${first.number}`, wrong);
    }
  }
  const second = struck.size;
  for (const tool of tools) await strikeTool(tool);
  const left = [...sites].filter(([key]) => !struck.has(key));
  for (const [, name] of left) verdict(`${name}`, ['never struck']);
  console.log(
    `${passed + failed} runs in ${Math.round((performance.now() - startMs) / 1000)} s; of ${sites.size} call sites in the sources ${sites.size - left.length} were ` +
      `struck: ${plain} in a life without mishap, ${mended - plain} after one, ${second - mended} by a second fault, ${struck.size - second} in the tools`,
  );
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
