/** What prove.ts bundles, with a bug in it: the power cuts of the simulated disk, and what was wrong after them. */
import { cutAtEveryCall, failEveryCall } from '../storage/power-cuts.ts';

export async function findFailures(): Promise<readonly string[]> {
  const failed = await failEveryCall(7, { name: 'datasync', code: 'EIO' }, 1);
  if (failed.wrong.length > 0) return failed.wrong;
  for (const seed of [2, 4, 6, 8]) {
    const torn = await cutAtEveryCall(seed, 'subset', 2);
    if (torn.length > 0) return torn;
  }
  return cutAtEveryCall(1, 'in turn');
}
