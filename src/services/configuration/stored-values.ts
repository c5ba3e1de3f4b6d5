/**
 * Values that are set while the broker runs, one row of the engine's catalogue for each resource, changed by compare-and-set. Knows
 * neither brokers nor groups: the caller says what may stand.
 */
import type { Catalogue } from '../../storage/engine.ts';
import { type ApiError, apiError } from '../api-error.ts';
import { isApiError } from './config-operations.ts';

export type StoredValues = ReadonlyMap<string, string>;

/** Another process may change the same row between our look and our write. */
const maxAttempts = 20;

export interface StoredValuesChange {
  readonly key: string;
  next(current: StoredValues): StoredValues | ApiError;
  /** Why the new values may not stand. */
  refusal(current: StoredValues, next: StoredValues): ApiError | undefined;
  readonly validateOnly: boolean;
}

/** Undefined when durably done, or, with validateOnly, when it could be. */
export async function changeStoredValues(
  catalogue: Catalogue,
  { key, next, refusal, validateOnly }: StoredValuesChange,
): Promise<ApiError | undefined> {
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const stored = catalogue.get(key);
    const current = decodeValues(stored?.value);
    const values = next(current);
    if (isApiError(values)) return values;
    const fault = refusal(current, values);
    if (fault !== undefined) return fault;
    if (validateOnly) return undefined;
    const value = values.size === 0 ? null : Buffer.from(JSON.stringify(Object.fromEntries(values)));
    const result = await catalogue.update({
      changes: [{ key, expectedVersion: stored?.version ?? 0, value }],
    });
    if (result.outcome === 'done') return undefined;
  }
  return apiError('REQUEST_TIMED_OUT', 'The settings are being changed by others; try again.');
}

export function decodeValues(value: Buffer | undefined): StoredValues {
  return value === undefined
    ? new Map()
    : new Map(Object.entries(JSON.parse(value.toString()) as Record<string, string>));
}
