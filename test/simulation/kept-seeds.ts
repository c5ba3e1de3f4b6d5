/** Seeds of simulations that failed once, with what they found in the engine. They are run with every test run. */
export interface KeptSeed {
  readonly seed: number;
  readonly steps: number;
  readonly found: string;
}

export const keptSeeds: readonly KeptSeed[] = [
  { seed: 41, steps: 300, found: 'sealing was tried again without end once the log had failed' },
];
