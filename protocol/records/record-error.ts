// The one error that everything in this folder throws on bytes from outside. It knows nothing of sockets or logs.

/**
 * What was wrong with the bytes:
 * - `truncated`: a batch or message ends before what its length promises
 * - `corrupt`: its checksum or its length is wrong
 * - `invalid`: the envelope is sound and what stands inside is not (records, compressed data, wrapped messages)
 * - `too-large`: they would decode to more than the caller's limit
 * - `unsupported-codec`: a codec id that Kafka does not define, or that the target format cannot carry
 * - `codec-unavailable`: the codec is known but its optional native package is not installed
 * - `unsupported-magic`: a record format other than 0, 1 and 2
 */
export type RecordErrorKind =
  | 'truncated'
  | 'corrupt'
  | 'invalid'
  | 'too-large'
  | 'unsupported-codec'
  | 'codec-unavailable'
  | 'unsupported-magic';

/** The Kafka error that a client gets for it, by name (protocol/error-codes.ts has the number). */
export type RecordErrorCodeName =
  | 'CORRUPT_MESSAGE'
  | 'INVALID_RECORD'
  | 'MESSAGE_TOO_LARGE'
  | 'UNSUPPORTED_COMPRESSION_TYPE'
  | 'INVALID_TIMESTAMP';

const codeNameByKind: Readonly<Record<RecordErrorKind, RecordErrorCodeName>> = {
  truncated: 'CORRUPT_MESSAGE',
  corrupt: 'CORRUPT_MESSAGE',
  invalid: 'INVALID_RECORD',
  'too-large': 'MESSAGE_TOO_LARGE',
  'unsupported-codec': 'UNSUPPORTED_COMPRESSION_TYPE',
  'codec-unavailable': 'UNSUPPORTED_COMPRESSION_TYPE',
  'unsupported-magic': 'CORRUPT_MESSAGE',
};

export class RecordError extends Error {
  readonly kind: RecordErrorKind;

  constructor(kind: RecordErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'RecordError';
    this.kind = kind;
  }

  /** Name of the Kafka error code that answers it on the wire. */
  get codeName(): RecordErrorCodeName {
    return codeNameByKind[this.kind];
  }
}
