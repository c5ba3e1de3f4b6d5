/** What prove.ts bundles, with a bug in it: simulations and crash states, and what was wrong in them. */
import { tryCrashStates } from './crash-states.ts';
import { simulate } from './simulation.ts';

export async function findInSimulation(): Promise<readonly string[]> {
  for (let seed = 1; seed <= 60; seed++) {
    const { failures } = await simulate({ seed, steps: 300 });
    if (failures.length > 0) return failures.map((failure) => `seed ${seed}: ${failure}`);
  }
  return [];
}

export async function findInStates(): Promise<readonly string[]> {
  for (const seed of [1, 2]) {
    const { failures } = await tryCrashStates({ seed, operations: 120, states: 800, subsets: 5 });
    if (failures.length > 0) return failures.map((failure) => `seed ${seed}: ${failure}`);
  }
  return [];
}
