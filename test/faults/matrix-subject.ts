/** What prove.ts bundles, with a bug in it: a part of the fault matrix, and what was wrong in it. */
import { describeStrike, faultsOf, runScenario } from '../storage/fault-matrix.ts';

export async function findFailures(): Promise<readonly string[]> {
  const whole = await runScenario();
  if (whole.wrong.length > 0) return whole.wrong;
  // Of each kind of call on each kind of file some, with every fault that does not only take time.
  const seen = new Map<string, number>();
  for (const call of whole.calls) {
    const kind = `${call.call} ${call.path.replace(/\d+/g, '')}`;
    const times = (seen.get(kind) ?? 0) + 1;
    seen.set(kind, times);
    if (times !== 1 && times !== 4 && times !== 11) continue;
    for (const fault of faultsOf(call)) {
      if (fault.kind === 'slow') continue;
      const { wrong } = await runScenario([{ number: call.number, fault }]);
      if (wrong.length > 0) return [`${describeStrike(call, fault)}: ${wrong[0]}`];
    }
  }
  return [];
}
