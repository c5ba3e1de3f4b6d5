/** The differences from Kafka that are meant, each with its reason. Everything else counts as failed. */
import type { Plain } from './plain.ts';

export interface AllowedDifference {
  /** Of which API; of all where absent. */
  readonly api?: string;
  /** Matches the path of the field. */
  readonly path: RegExp;
  /** Matches `scenario / label`. */
  readonly label?: RegExp;
  readonly holds?: (ours: Plain | undefined, kafkas: Plain | undefined) => boolean;
  readonly why: string;
}

export const allowedDifferences: readonly AllowedDifference[] = [];
