// Runs the fuzz: npm run -s fuzz -- --inputs N --seed S [--seconds T] [--only INDEX]
// Prints every finding, with what runs it again alone, and a last line `N passed, N failed`; the exit code is 1 where one failed.
// The work is done in a thread of limited memory beside a watchdog, so that a hang or a flood is a finding too.
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { type FuzzOptions, type FuzzResult, fuzz } from './fuzz.ts';

const HANG_MS = 10_000;
const MAX_HEAP_MB = 768;

interface Task {
  readonly options: FuzzOptions;
  /** Two 32-bit counters: the input under way, and how many have begun. */
  readonly progress: Int32Array;
}

function parseOptions(args: readonly string[]): FuzzOptions {
  const values = new Map<string, number>();
  for (let i = 0; i < args.length; i += 2) {
    const name = args[i] ?? '';
    const value = Number(args[i + 1]);
    if (!['--inputs', '--seed', '--seconds', '--only'].includes(name) || !Number.isFinite(value)) {
      throw new Error(
        `usage: npm run -s fuzz -- --inputs N --seed S [--seconds T] [--only INDEX] (not ${name} ${args[i + 1]})`,
      );
    }
    values.set(name, value);
  }
  return {
    inputs: values.get('--inputs') ?? 50_000,
    seed: values.get('--seed') ?? 1,
    seconds: values.get('--seconds'),
    only: values.get('--only'),
  };
}

function report(result: FuzzResult, tookMs: number): void {
  for (const failure of result.failures) console.log(`FAIL ${failure}`);
  for (const [kind, { inputs, decoded }] of [...result.kinds].sort()) {
    console.log(`${kind.padEnd(18)} ${String(inputs).padStart(8)} inputs, ${decoded} of them decoded`);
  }
  const total = result.passed + result.failures.length;
  console.log(`${(tookMs / 1000).toFixed(1)} s, ${Math.round(total / (tookMs / 1000))} inputs a second`);
  console.log(`${result.passed} passed, ${result.failures.length} failed`);
  if (result.failures.length > 0) process.exitCode = 1;
}

function supervise(options: FuzzOptions): void {
  const progress = new Int32Array(new SharedArrayBuffer(8));
  const started = performance.now();
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { options, progress } satisfies Task,
    resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
  });
  const giveUp = (what: string): void => {
    clearInterval(watchdog);
    const index = Atomics.load(progress, 0);
    console.log(
      `FAIL input ${index} of seed ${options.seed}: ${what} (again alone: --seed ${options.seed} --only ${index})`,
    );
    console.log(`${Math.max(0, Atomics.load(progress, 1) - 1)} passed, 1 failed`);
    process.exitCode = 1;
    void worker.terminate();
  };
  let seen = -1;
  let seenAt = started;
  const watchdog = setInterval(() => {
    const begun = Atomics.load(progress, 1);
    if (begun !== seen) {
      seen = begun;
      seenAt = performance.now();
    } else if (begun > 0 && performance.now() - seenAt > HANG_MS) giveUp(`hangs for more than ${HANG_MS} ms`);
  }, 250);
  worker.on('message', (result: FuzzResult) => {
    clearInterval(watchdog);
    report(result, performance.now() - started);
  });
  worker.on('error', (error) => giveUp(`${error.name}: ${error.message}`));
}

function work(task: Task): void {
  const result = fuzz({
    ...task.options,
    onInput: (index) => {
      Atomics.store(task.progress, 0, index);
      Atomics.add(task.progress, 1, 1);
    },
  });
  // Copied to the other thread as it is.
  parentPort?.postMessage(result);
}

if (isMainThread) supervise(parseOptions(process.argv.slice(2)));
else work(workerData as Task);
