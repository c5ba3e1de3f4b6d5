/** What prove.ts bundles, with a bug in it. */
import { runDamages } from './damage-run.ts';

export async function findFailures(count: number, seed: number): Promise<readonly string[]> {
  return (await runDamages({ count, seed, report: () => {} })).failures;
}
