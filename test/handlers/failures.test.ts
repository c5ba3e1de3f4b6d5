/** What handlers answer when something of ours fails: in every version, for every request of the official client's making. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { errorCodes } from '../../protocol/error-codes.ts';
import { apiByKey } from '../../protocol/generated/apis.ts';
import { encodeToBuffer } from '../../protocol/message-codec.ts';
import type { MessageVector } from '../../protocol/tools/message-vectors.ts';
import { ByteReader } from '../../protocol/wire/byte-reader.ts';
import type { RequestContext } from '../../src/handlers/handler.ts';
import { buildHandlers } from '../../src/handlers/registry.ts';
import type { Services } from '../../src/handlers/services.ts';
import { BrokerConfig } from '../../src/services/configuration/broker-config.ts';
import { memoryEngine, plainListener } from './admin-broker.ts';

const requests = ['messages.jsonl.gz', 'messages-before-4.0.jsonl.gz']
  .flatMap((name) =>
    gunzipSync(readFileSync(`test/vectors/${name}`))
      .toString('utf8')
      .trimEnd()
      .split('\n'),
  )
  .map((line) => JSON.parse(line) as MessageVector)
  .filter(({ type }) => type === 'request');

/** Failing needs none of the services that fail. */
const services = {
  engine: memoryEngine(),
  config: new BrokerConfig(new Map()),
  dataVolume: { path: '/data', space: async () => undefined },
  fetches: { offsets: {} },
  nodeId: 1,
} as unknown as Services;

const served = buildHandlers(services).map((handler) => ({
  ...handler,
  name: apiByKey(handler.apiKey)!.name,
}));

describe('an operating fault', () => {
  it.each(served)('is told by $name in every version', ({ apiKey, minVersion, maxVersion, fail }) => {
    const api = apiByKey(apiKey)!;
    const told = new Set<number>();
    for (const { apiKey: key, version, hex } of requests) {
      if (key !== apiKey || version < minVersion || version > maxVersion) continue;
      const request = api.request.decode(new ByteReader(Buffer.from(hex, 'hex')), version);
      const context = { apiKey, apiVersion: version, connection: { listener: plainListener } };
      const answer = fail!(request, errorCodes.KAFKA_STORAGE_ERROR, context as unknown as RequestContext);
      const reader = new ByteReader(encodeToBuffer(api.response, answer, version));
      const decoded = api.response.decode(reader, version);
      expect(reader.remaining).toBe(0);
      const text = JSON.stringify(decoded, (_name, value) =>
        typeof value === 'bigint' ? `${value}` : value,
      );
      // Some answers have an error for each partition alone, under a name of its own.
      if (new RegExp(`"(errorCode|partitionErrorCode)":${errorCodes.KAFKA_STORAGE_ERROR}`).test(text))
        told.add(version);
    }
    const versions = Array.from({ length: maxVersion - minVersion + 1 }, (_, at) => minVersion + at);
    expect([...told].sort((a, b) => a - b)).toEqual(versions);
  });
});
