/** Bugs to be put into the bundle of a test's subject, each to prove that a crash test finds it. See prove.ts. */
import type { SeededBug } from './broker-process.ts';

export const seededBugs: readonly SeededBug[] = [];
