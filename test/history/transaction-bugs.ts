/** Bugs to be put into the broker's bundle, each to prove that the history checker finds it in what real clients see. */
import type { SeededBug } from '../crash/broker-process.ts';

export const transactionBugs: readonly SeededBug[] = [];
