/**
 * node scripts/run-ts.mjs test/faults/matrix.ts [--sites] [--every N]
 *
 * The fault matrix in full: every place of the engine that makes a file call, with every fault that the call can meet, at the first and
 * the last time it is made (--every N: at every Nth of all calls instead; --sites: no faults, only the places). Says how many of the
 * places in the sources that is, and fails where one is neither struck nor in the list of those that cannot be. Node must be told
 * --enable-source-maps. Ends with `N passed, N failed`.
 */
import { dirname, resolve } from 'node:path';
import type { WatchedCall } from '../fakes/watched-disk.ts';
import { callSites } from '../storage/call-sites.ts';
import { describeStrike, faultsOf, runScenario } from '../storage/fault-matrix.ts';
import { notReached } from './not-reached.ts';

const root = resolve(dirname(process.argv[1]!), '../..');
const at = process.argv.indexOf('--every');
const every = at < 0 ? 0 : Number(process.argv[at + 1]);

const startMs = performance.now();
const whole = await runScenario(undefined, 'all');
let failed = 0;
let passed = 0;
if (whole.wrong.length > 0) {
  failed++;
  console.log(`FAILED: without a fault: ${whole.wrong.join('; ')}`);
}

const chosen: WatchedCall[] = [];
if (every > 0) chosen.push(...whole.calls.filter(({ number }) => number % every === 0));
else {
  const bySite = new Map<string, WatchedCall[]>();
  for (const call of whole.calls) {
    const key = `${call.site} ${call.call}`;
    bySite.set(key, [...(bySite.get(key) ?? []), call]);
  }
  for (const calls of bySite.values()) chosen.push(...new Set([calls[0]!, calls.at(-1)!]));
}

const struck = new Set<string>();
for (const call of chosen) {
  struck.add(`${call.site} ${call.call}`);
  if (process.argv.includes('--sites')) continue;
  for (const fault of faultsOf(call)) {
    const outcome = await runScenario({ number: call.number, fault });
    const wrong = outcome.struck === undefined ? ['it was never struck'] : outcome.wrong;
    if (wrong.length === 0) passed++;
    else {
      failed++;
      console.log(`FAILED: ${describeStrike(call, fault)}: ${wrong.join('; ')}`);
    }
  }
}

const sites = callSites(root);
const left = new Set<string>();
let covered = 0;
for (const { site, call, name } of sites) {
  if (struck.has(`${site} ${call}`)) covered++;
  else left.add(name);
}
console.log(
  `${passed + failed} runs in ${Math.round((performance.now() - startMs) / 1000)} s; of ${sites.length} call sites in the sources ${covered} were struck, ${sites.length - covered} are not reached without a fault`,
);
const unknown = [...left].filter((name) => !notReached.has(name));
const stale = [...notReached.keys()].filter((name) => !sites.some((site) => site.name === name));
for (const name of unknown) console.log(`FAILED: never struck: ${name}`);
for (const name of stale) console.log(`FAILED: not-reached.ts names ${name}, which is gone`);
failed += unknown.length + stale.length;
if (unknown.length + stale.length === 0) passed++;
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
