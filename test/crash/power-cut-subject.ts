/** What prove.ts bundles, with a bug in it: the power cuts of the simulated disk, and what was wrong after them. */
import { cutAtEveryCall, failEveryCall } from '../storage/power-cuts.ts';

export async function findFailures(): Promise<readonly string[]> {
  const failed = await failEveryCall(7, { name: 'datasync', code: 'EIO' }, 1);
  if (failed.wrong.length > 0) return failed.wrong;
  for (let seed = 1; seed <= 3; seed++) {
    const wrong = await cutAtEveryCall(seed, false);
    if (wrong.length > 0) return wrong;
  }
  return [];
}
