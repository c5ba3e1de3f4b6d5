/** The short form of `npm run crash`. */
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BundledBroker, bundleBroker } from './bundled-broker.ts';
import { runCrashTest } from './crash-test.ts';
import { machineOfKills } from './machine.ts';

describe('kill -9 under load', () => {
  let broker: BundledBroker;

  beforeAll(async () => {
    broker = await bundleBroker(resolve(import.meta.dirname, '../..'));
  });

  afterAll(async () => {
    await broker?.remove();
  });

  test('loses nothing acknowledged and doubles nothing', { timeout: 90_000 }, async () => {
    const lines: string[] = [];
    const result = await runCrashTest({
      program: broker.program,
      machine: await machineOfKills(),
      cycles: 10,
      seed: 20_261_122,
      mode: 'both',
      flushPolicies: ['acks', 'interval', 'always'],
      producers: 3,
      foreignClients: [],
      keepData: 'never',
      report: (line) => lines.push(line),
    });
    expect(result, lines.join('\n')).toEqual({ passed: 11, failed: 0 });
  });
});
