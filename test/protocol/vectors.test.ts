import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { apis } from '../../protocol/generated/apis.ts';
import { codecs } from '../../protocol/generated/messages.ts';
import { checkMessageVector, type MessageVector } from '../../protocol/tools/message-vectors.ts';

function read(name: string): MessageVector[] {
  const text = gunzipSync(readFileSync(`test/vectors/${name}`)).toString('utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as MessageVector);
}

const vectors = [...read('messages.jsonl.gz'), ...read('messages-before-4.0.jsonl.gz')];

describe('vectors of the official Java client', () => {
  it('pass both ways', () => {
    const failures = vectors.flatMap((vector) =>
      checkMessageVector(vector).map((failure) => `${vector.message} v${vector.version}: ${failure}`),
    );
    expect(failures).toEqual([]);
  });

  it('cover every version of every message', () => {
    const seen = new Set(vectors.map((vector) => `${vector.message} v${vector.version}`));
    const missing: string[] = [];
    for (const codec of codecs.values()) {
      if (codec.name === 'RequestHeader' || codec.name === 'ResponseHeader') continue; // headers.test.ts has them
      for (let version = codec.minVersion; version <= codec.maxVersion; version += 1) {
        if (!seen.has(`${codec.name} v${version}`)) missing.push(`${codec.name} v${version}`);
      }
    }
    expect(missing).toEqual([]);
    expect(apis.length).toBeGreaterThan(70);
  });
});

describe('the check of a vector', () => {
  const good = vectors.find(
    (vector) => vector.message === 'FetchRequest' && vector.version === 12 && vector.hex.length > 100,
  )!;

  it('passes a good one', () => {
    expect(checkMessageVector(good)).toEqual([]);
  });

  it.each<[string, Partial<Record<keyof MessageVector, unknown>>]>([
    ['another name', { message: 'FetchReqest' }],
    ['another version', { version: 11 }],
    ['a version too high', { version: 99 }],
    ['no version', { version: undefined }],
    ['another API key', { apiKey: 2 }],
    ['another type', { type: 'response' }],
    ['another flexible', { flexible: false }],
    ['a byte too many', { hex: `${good.hex}00` }],
    ['a byte too few', { hex: good.hex.slice(0, -2) }],
    [
      'a flipped bit',
      {
        hex: good.hex.replace(/^../, (byte) => (Number.parseInt(byte, 16) ^ 1).toString(16).padStart(2, '0')),
      },
    ],
    ['no hex', { hex: undefined }],
    ['half a byte', { hex: good.hex.slice(1) }],
    ['a field too many', { value: { ...(good.value as object), extra: 1 } }],
    ['a field too few', { value: { topics: [] } }],
    ['a number for text', { value: { ...(good.value as object), rackId: 5 } }],
    ['no value', { value: undefined }],
    ['null for a value', { value: null }],
  ])('fails %s', (_what, change) => {
    expect(checkMessageVector({ ...good, ...change } as MessageVector)).not.toEqual([]);
  });
});
