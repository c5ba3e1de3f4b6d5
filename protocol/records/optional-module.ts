// Loads optional native packages on first use. A missing or broken one is an ordinary outcome, never a crash.

import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/** The CommonJS module of that name, or undefined when it is not installed or does not load on this platform. */
export function loadOptionalModule(name: string): unknown {
  try {
    return require(name);
  } catch {
    return undefined;
  }
}
