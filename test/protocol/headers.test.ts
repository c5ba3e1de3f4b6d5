import { describe, expect, it } from 'vitest';
import { fetchResponse } from '../../protocol/generated/01-fetch.ts';
import { heartbeatResponse } from '../../protocol/generated/12-heartbeat.ts';
import { apiVersionsResponse } from '../../protocol/generated/18-api-versions.ts';
import { apiByKey } from '../../protocol/generated/apis.ts';
import { requestHeader } from '../../protocol/generated/data-request-header.ts';
import { responseHeader } from '../../protocol/generated/data-response-header.ts';
import {
  decodeRequestHeader,
  decodeResponseHeader,
  encodeRequestHeader,
  encodeResponseFrame,
  encodeResponseHeader,
  hasFlexibleResponseHeader,
} from '../../protocol/headers.ts';
import { encodeToBuffer, isFlexible } from '../../protocol/message-codec.ts';
import { ByteReader } from '../../protocol/wire/byte-reader.ts';
import { MalformedMessageError } from '../../protocol/wire/errors.ts';

const isFlexibleRequest = (apiKey: number, version: number): boolean => {
  const api = apiByKey(apiKey);
  return api !== undefined && isFlexible(api, version);
};

describe('request headers', () => {
  it.each([
    [18, 0, false],
    [18, 3, true],
    [1, 11, false],
    [1, 12, true],
  ])('of API %i version %i', (apiKey, apiVersion, flexible) => {
    for (const clientId of [null, '', 'client', 'é統']) {
      const header = { apiKey, apiVersion, correlationId: -7, clientId };
      const bytes = encodeRequestHeader(header, flexible);
      const byDefinition = {
        requestApiKey: apiKey,
        requestApiVersion: apiVersion,
        correlationId: -7,
        clientId,
      };
      expect(bytes).toEqual(encodeToBuffer(requestHeader, byDefinition, flexible ? 2 : 1));
      const reader = new ByteReader(Buffer.concat([bytes, Buffer.from('body')]));
      expect(decodeRequestHeader(reader, isFlexibleRequest)).toEqual(header);
      expect(reader.remaining).toBe(4);
    }
  });

  it('ControlledShutdown v0 has no client id', () => {
    const reader = new ByteReader(Buffer.from('000700000000002a00000001', 'hex'));
    expect(decodeRequestHeader(reader, isFlexibleRequest)).toEqual({
      apiKey: 7,
      apiVersion: 0,
      correlationId: 42,
      clientId: null,
    });
    expect(reader.remaining).toBe(4);
  });

  it('tagged fields are skipped', () => {
    const reader = new ByteReader(Buffer.from('001200030000002a0001610105023132ff', 'hex'));
    expect(decodeRequestHeader(reader, isFlexibleRequest)).toMatchObject({
      correlationId: 42,
      clientId: 'a',
    });
    expect(reader.remaining).toBe(1);
  });

  it('a truncated one is an error', () => {
    const bytes = encodeRequestHeader({ apiKey: 18, apiVersion: 3, correlationId: 1, clientId: 'abc' }, true);
    for (let end = 0; end < bytes.length; end += 1) {
      expect(() => decodeRequestHeader(new ByteReader(bytes, 0, end), isFlexibleRequest)).toThrow(
        MalformedMessageError,
      );
    }
  });
});

describe('responses', () => {
  it('headers follow the version, except for ApiVersions', () => {
    expect(hasFlexibleResponseHeader(apiVersionsResponse, 4)).toBe(false);
    expect(hasFlexibleResponseHeader(heartbeatResponse, 3)).toBe(false);
    expect(hasFlexibleResponseHeader(heartbeatResponse, 4)).toBe(true);
    expect(encodeResponseHeader(5, true)).toEqual(encodeToBuffer(responseHeader, { correlationId: 5 }, 1));
    expect(encodeResponseHeader(-5, false)).toEqual(encodeToBuffer(responseHeader, { correlationId: -5 }, 0));
    expect(decodeResponseHeader(new ByteReader(encodeResponseHeader(-5, true)), true)).toBe(-5);
  });

  it.each([3, 4])('a frame of version %i has its length, header and body', (version) => {
    const parts = encodeResponseFrame(heartbeatResponse, { errorCode: 27 }, version, 99);
    expect(parts).toHaveLength(1);
    const frame = parts[0]!;
    expect(frame.readInt32BE(0)).toBe(frame.length - 4);
    const reader = new ByteReader(frame, 4);
    expect(decodeResponseHeader(reader, version >= 4)).toBe(99);
    expect(heartbeatResponse.decode(reader, version)).toEqual({ throttleTimeMs: 0, errorCode: 27 });
    expect(reader.remaining).toBe(0);
  });

  it('a frame counts the records that are passed on by reference', () => {
    const records = Buffer.alloc(5000, 3);
    const parts = encodeResponseFrame(
      fetchResponse,
      {
        responses: [
          { topic: 't', partitions: [{ partitionIndex: 0, errorCode: 0, highWatermark: 1, records }] },
        ],
      },
      12,
      1,
    );
    expect(parts).toHaveLength(3);
    expect(parts[1]).toBe(records);
    expect(parts[0]!.readInt32BE(0)).toBe(Buffer.concat(parts).length - 4);
  });
});
