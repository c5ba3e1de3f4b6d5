// What can go wrong in the codec. Knows nothing of sockets or of Kafka error codes: callers decide what a client sees.

/** Names the message, version and field that it is about. */
abstract class MessageFieldError extends Error {
  readonly messageName: string;
  readonly version: number;
  readonly field: string;

  constructor(messageName: string, version: number, field: string, reason: string) {
    super(`${messageName} v${version}, field ${field}: ${reason}`);
    this.messageName = messageName;
    this.version = version;
    this.field = field;
  }
}

/** Bytes from outside that no version of the message can be. */
export class MalformedMessageError extends MessageFieldError {
  override readonly name = 'MalformedMessageError';
}

/** A value that the version asked for cannot carry: an error of ours, never of a client. */
export class UnencodableMessageError extends MessageFieldError {
  override readonly name = 'UnencodableMessageError';
}

/** A version that the codec does not know was asked for. */
export class UnknownMessageVersionError extends Error {
  override readonly name = 'UnknownMessageVersionError';
  readonly messageName: string;
  readonly version: number;

  constructor(messageName: string, version: number, minVersion: number, maxVersion: number) {
    super(`${messageName} v${version} is not known (${minVersion} to ${maxVersion} are)`);
    this.messageName = messageName;
    this.version = version;
  }
}
