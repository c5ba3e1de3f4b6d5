// Checks one line of a message vector file: the bytes that Kafka's own client gives a value. For the tool and tests.
import { isDeepStrictEqual } from 'node:util';
import { codecs, definitions } from '../generated/messages.ts';
import { encodeToBuffer, isFlexible } from '../message-codec.ts';
import { ByteReader } from '../wire/byte-reader.ts';
import { type Json, MessageJson } from './message-json.ts';

/** A line: `hex` is the body, without header or length. */
export interface MessageVector {
  readonly message: string;
  readonly apiKey?: number;
  readonly type?: string;
  readonly version: number;
  readonly flexible?: boolean;
  readonly value: Json;
  readonly hex: string;
}

const translators = new Map<string, MessageJson>();

/** Translates the JSON of a message's version; undefined where no such message is known. */
export function messageJson(name: string, version: number): MessageJson | undefined {
  const definition = definitions.get(name);
  if (definition === undefined) return undefined;
  const key = `${name} ${version}`;
  const translator = translators.get(key) ?? new MessageJson(definition, version);
  translators.set(key, translator);
  return translator;
}

/** Checks a line both ways; what failed, empty where all holds. Never throws. */
export function checkMessageVector(vector: MessageVector): string[] {
  const failures: string[] = [];
  const attempt = (what: string, run: () => void): void => {
    try {
      run();
    } catch (error) {
      failures.push(`${what}: ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`);
    }
  };
  attempt('check', () => check(vector, failures, attempt));
  return failures;
}

function check(
  vector: MessageVector,
  failures: string[],
  attempt: (what: string, run: () => void) => void,
): void {
  const { message, version, hex } = vector;
  const codec = codecs.get(message);
  if (codec === undefined) {
    failures.push(`no message is called ${JSON.stringify(message)}`);
    return;
  }
  if (!(Number.isInteger(version) && version >= codec.minVersion && version <= codec.maxVersion)) {
    failures.push(`version ${version} is not known (${codec.minVersion} to ${codec.maxVersion} are)`);
    return;
  }
  const json = messageJson(message, version)!;
  const definition = definitions.get(message)!;
  if (vector.apiKey !== undefined && vector.apiKey !== definition.key)
    failures.push(`the API key is ${definition.key}`);
  if (
    vector.type !== undefined &&
    vector.type !== definition.kind &&
    !(vector.type === 'data' && codec.apiKey === -1)
  ) {
    failures.push(`the message is a ${definition.kind}`);
  }
  if (vector.flexible !== undefined && vector.flexible !== isFlexible(codec, version)) {
    failures.push(`flexible versions begin at ${codec.flexibleFrom}`);
  }
  if (typeof hex !== 'string' || !/^([0-9a-f]{2})*$/i.test(hex)) {
    failures.push('hex is not whole bytes');
    return;
  }
  const bytes = Buffer.from(hex, 'hex');
  let decoded: unknown;
  attempt('decode', () => {
    const reader = new ByteReader(bytes);
    decoded = codec.decode(reader, version);
    if (reader.remaining > 0) failures.push(`decode: ${reader.remaining} bytes are left over`);
    const difference = firstDifference(json.toJson(decoded), vector.value, 'value');
    if (difference !== undefined) failures.push(`decode: ${difference}`);
  });
  attempt('encode', () =>
    compareBytes('encode', encodeToBuffer(codec, json.fromJson(vector.value), version), bytes, failures),
  );
  if (decoded !== undefined) {
    attempt('encode again', () =>
      compareBytes('encode again', encodeToBuffer(codec, decoded, version), bytes, failures),
    );
  }
}

function compareBytes(what: string, actual: Buffer, expected: Buffer, failures: string[]): void {
  if (actual.equals(expected)) return;
  let at = 0;
  while (at < actual.length && actual[at] === expected[at]) at += 1;
  failures.push(
    `${what}: ${actual.length} bytes where ${expected.length} are wanted, different from byte ${at} on`,
  );
}

/** Where two JSON values differ first, in words. */
function firstDifference(
  actual: Json | undefined,
  expected: Json | undefined,
  path: string,
): string | undefined {
  if (isDeepStrictEqual(actual, expected)) return undefined;
  if (typeof actual === 'object' && typeof expected === 'object' && actual !== null && expected !== null) {
    if (Array.isArray(actual) === Array.isArray(expected)) {
      const left = actual as { [name: string]: Json };
      const right = expected as { [name: string]: Json };
      for (const key of new Set([...Object.keys(left), ...Object.keys(right)])) {
        const found = firstDifference(left[key], right[key], `${path}.${key}`);
        if (found !== undefined) return found;
      }
    }
  }
  return `${path} is ${JSON.stringify(actual)} where ${JSON.stringify(expected)} is wanted`;
}
