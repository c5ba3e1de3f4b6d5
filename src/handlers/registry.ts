/**
 * The one list of the APIs served: the router and the ApiVersions answer both derive from it, so what is advertised is what is
 * served. A new API is a file named by its key and one line here. What is left out, and why, stands in skipped.md.
 */
import type { AnyHandler } from './handler.ts';
import type { Services } from './services.ts';

/** Every API served, by key. */
export function buildHandlers(services: Services): readonly AnyHandler[] {
  void services;
  return [];
}
