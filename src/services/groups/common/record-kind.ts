/**
 * One kind of record of a coordinator's log, in Kafka's form: a key led by its type, a value led by its version. A kind of group
 * lists its kinds of record with `recordKind`; group-records.ts encodes and decodes them all from the lists.
 */
import { encodeMessage, type MessageCodec } from '../../../../protocol/message-codec.ts';
import { ByteReader } from '../../../../protocol/wire/byte-reader.ts';

export interface RecordKind<Type extends string, Key, Value> {
  readonly type: Type;
  /** What leads the key. */
  readonly keyType: number;
  readonly key: MessageCodec<Key, Key>;
  readonly value: MessageCodec<Value, Value>;
  /** The version that is written. */
  readonly valueVersion: number;
}

/** A record of that kind; null is a tombstone. */
export type RecordOfKind<Kind> =
  Kind extends RecordKind<infer Type, infer Key, infer Value>
    ? { readonly type: Type; readonly key: Key; readonly value: Value | null }
    : never;

/** Codecs decode to something that is more than what they encode: reading gives at least what is asked for here. */
export function recordKind<const Type extends string, Key, Value>(
  type: Type,
  keyType: number,
  key: MessageCodec<unknown, Key>,
  value: MessageCodec<unknown, Value>,
  valueVersion = 0,
): RecordKind<Type, Key, Value> {
  return {
    type,
    keyType,
    key: key as MessageCodec<Key, Key>,
    value: value as MessageCodec<Value, Value>,
    valueVersion,
  };
}

/** Any kind of record, for lists of them. */
export type AnyRecordKind = RecordKind<string, never, never>;

/** What was encoded with its leading int16. */
export function led<Input>(
  lead: number,
  codec: MessageCodec<unknown, Input>,
  message: Input,
  version: number,
): Buffer {
  const leadBytes = Buffer.allocUnsafe(2);
  leadBytes.writeInt16BE(lead);
  const parts = encodeMessage(codec, message, version, leadBytes);
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

/** A value led by its version. @throws MalformedMessageError */
export function versioned<T>(codec: MessageCodec<T, never>, value: Buffer | null): T | null {
  if (value === null) return null;
  const reader = new ByteReader(value);
  return codec.decode(reader, reader.int16('version'));
}
