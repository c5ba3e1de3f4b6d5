/**
 * Finds the handler of a request by API key and version. Built from the same list as the ApiVersions answer, so what is
 * served and what is advertised cannot differ. Knows nothing of what handlers do.
 */
import type { AnyHandler } from '../handlers/handler.ts';
import { assert } from '../util/assert.ts';

const largestApiKey = 32767;

export class RequestRouter {
  private readonly byKey: (AnyHandler | undefined)[] = [];

  constructor(handlers: readonly AnyHandler[]) {
    for (const handler of handlers) {
      assert(handler.apiKey >= 0 && handler.apiKey <= largestApiKey, `API key ${handler.apiKey}`);
      assert(this.byKey[handler.apiKey] === undefined, `two handlers for API key ${handler.apiKey}`);
      while (this.byKey.length < handler.apiKey) this.byKey.push(undefined);
      this.byKey[handler.apiKey] = handler;
    }
  }

  /** The handler of the API, whatever the version. */
  find(apiKey: number): AnyHandler | undefined {
    return this.byKey[apiKey];
  }

  /** Whether the header of such a request carries tagged fields; false for what is not served. */
  readonly isFlexibleRequest = (apiKey: number, apiVersion: number): boolean => {
    const handler = this.byKey[apiKey];
    return (
      handler !== undefined &&
      apiVersion <= handler.maxVersion &&
      apiVersion >= handler.minVersion &&
      apiVersion >= handler.request.flexibleFrom
    );
  };
}
