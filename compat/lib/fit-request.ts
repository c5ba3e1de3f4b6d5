/**
 * Requests written once with the fields of all versions, cut to what one version can carry. For tests: a client of ours would
 * want to know.
 */
import type { ApiDefinition } from '../../protocol/api-definition.ts';
import { encodeMessage } from '../../protocol/message-codec.ts';
import { UnencodableMessageError } from '../../protocol/wire/errors.ts';

const mostFields = 50;

/** `value` without the fields that `version` of the request has no place for. */
export function fitRequest(api: ApiDefinition, version: number, value: unknown): unknown {
  let fitted = value;
  for (let cuts = 0; ; cuts++) {
    try {
      encodeMessage(api.request, fitted, version);
      return fitted;
    } catch (error) {
      if (!(error instanceof UnencodableMessageError) || cuts === mostFields) throw error;
      if (!error.message.includes('cannot carry')) throw error;
      fitted = without(fitted, error.field.split('.'));
    }
  }
}

function without(value: unknown, path: readonly string[]): unknown {
  if (Array.isArray(value)) return value.map((item) => without(item, path));
  if (typeof value !== 'object' || value === null) return value;
  const [first, ...rest] = path;
  const fields = { ...(value as Record<string, unknown>) };
  if (rest.length === 0) delete fields[first!];
  else fields[first!] = without(fields[first!], rest);
  return fields;
}
