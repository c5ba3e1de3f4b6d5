// Small things that generated code shares.
import { UnknownMessageVersionError } from './errors.ts';

/** Why a field cannot be encoded. */
export const ABSENT = 'this version cannot carry it';

export const EMPTY_ARRAY: readonly never[] = [];
export const EMPTY_BYTES = Buffer.alloc(0);

export function checkVersion(name: string, version: number, minVersion: number, maxVersion: number): void {
  if (!(version >= minVersion && version <= maxVersion)) {
    throw new UnknownMessageVersionError(name, version, minVersion, maxVersion);
  }
}
