/** A sample of the fault matrix after mishaps and beside the engine, that fits a test run. In full: test/faults/matrix.ts. */
import { describe, expect, test } from 'vitest';
import { describeStrike, faultsOf, runScenario } from '../fault-matrix.ts';
import { mishaps } from '../mishaps.ts';
import { runTool, tools } from '../tool-faults.ts';

describe('a life after a mishap', () => {
  test.each(mishaps)(
    '$name: nothing acknowledged is lost, nor by one fault more',
    { timeout: 60_000 },
    async (mishap) => {
      const whole = await runScenario([], 'none', mishap);
      expect(whole.wrong).toEqual([]);
      for (const share of [0.55, 0.8]) {
        const call = whole.calls[Math.floor(whole.calls.length * share)]!;
        const fault = faultsOf(call)[0]!;
        const { wrong } = await runScenario([{ number: call.number, fault }], 'none', mishap);
        expect(wrong, describeStrike(call, fault)).toEqual([]);
      }
    },
  );
});

describe('beside the engine', () => {
  test.each(tools)('$name does what it says, or says that it did not', { timeout: 60_000 }, async (tool) => {
    const whole = await runTool(tool);
    expect(whole.wrong).toEqual([]);
    // Early: what an engine does meanwhile in the background shifts the numbers.
    const call = whole.calls[whole.calls.length >> 3]!;
    const { wrong } = await runTool(tool, [{ number: call.number, fault: { kind: 'error', code: 'EIO' } }]);
    expect(wrong, describeStrike(call, { kind: 'error', code: 'EIO' })).toEqual([]);
  });
});
