/** A refusal for the client: a value, not something thrown. */
import { type ErrorCode, errorCodes } from '../../protocol/error-codes.ts';

export interface ApiError {
  readonly code: ErrorCode;
  /** For people; null where Kafka says nothing either. */
  readonly message: string | null;
}

export function apiError(name: keyof typeof errorCodes, message: string | null = null): ApiError {
  return { code: errorCodes[name], message };
}
