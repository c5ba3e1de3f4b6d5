/** The short form of `npm run damage`. */
import { expect, test } from 'vitest';
import { runDamages } from './damage-run.ts';

test('no damage makes a start serve wrong bytes or pass over a loss; repair saves all that is intact', {
  timeout: 120_000,
}, async () => {
  const lines: string[] = [];
  const result = await runDamages({ count: 60, seed: 20_261_122, report: (line) => lines.push(line) });
  expect(result.failures, lines.join('\n')).toEqual([]);
  expect(result.passed).toBe(60);
});
