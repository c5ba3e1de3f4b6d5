/**
 * Sends every request of the official client's vectors, in every version, to a broker that serves it: strange names, sizes
 * and numbers included; then all of them again with names and numbers of a topic that exists and has records. Each must be
 * answered by something that the response's codec reads to the end, or end its connection, and none may make a handler fail.
 */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ApiDefinition } from '../../protocol/api-definition.ts';
import { produceRequest } from '../../protocol/generated/00-produce.ts';
import { metadataRequest, metadataResponse } from '../../protocol/generated/03-metadata.ts';
import { apiVersionsResponse } from '../../protocol/generated/18-api-versions.ts';
import { createTopicsRequest } from '../../protocol/generated/19-create-topics.ts';
import { apiByKey } from '../../protocol/generated/apis.ts';
import {
  decodeResponseHeader,
  encodeRequestHeader,
  hasFlexibleResponseHeader,
} from '../../protocol/headers.ts';
import { encodeToBuffer } from '../../protocol/message-codec.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import { ByteReader } from '../../protocol/wire/byte-reader.ts';
import { type Broker, createBroker } from '../../src/index.ts';

interface RequestVector {
  readonly message: string;
  readonly apiKey: number;
  readonly type: string;
  readonly version: number;
  readonly hex: string;
}

const vectors = ['messages.jsonl.gz', 'messages-before-4.0.jsonl.gz']
  .flatMap((name) =>
    gunzipSync(readFileSync(`test/vectors/${name}`))
      .toString('utf8')
      .trimEnd()
      .split('\n'),
  )
  .map((line) => JSON.parse(line) as RequestVector)
  .filter((vector) => vector.type === 'request');

/** Group members wait for others, fetches for records: what is not answered by then is left alone. */
const patienceMs = 150;

const logged: string[] = [];
let broker: Broker;

beforeAll(async () => {
  broker = await createBroker({ memory: true, logTo: (line) => logged.push(line) });
});

afterAll(() => broker.stop());

type Outcome = { readonly kind: 'answer'; readonly frame: Buffer } | { readonly kind: 'closed' | 'waits' };

class Client {
  private socket: Socket | undefined;
  private received = Buffer.alloc(0);
  private wake: (outcome: Outcome) => void = () => {};

  private open(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = connect(broker.port, broker.host, () => resolve(socket));
      this.socket = socket;
      this.received = Buffer.alloc(0);
      socket.on('error', reject);
      socket.on('close', () => {
        if (this.socket !== socket) return;
        this.socket = undefined;
        this.wake({ kind: 'closed' });
      });
      socket.on('data', (chunk: Buffer) => {
        this.received = Buffer.concat([this.received, chunk]);
        if (this.received.length < 4) return;
        const length = this.received.readInt32BE(0);
        if (this.received.length < 4 + length) return;
        const frame = this.received.subarray(4, 4 + length);
        this.received = this.received.subarray(4 + length);
        this.wake({ kind: 'answer', frame });
      });
    });
  }

  async ask(frame: Buffer): Promise<Outcome> {
    const socket = this.socket ?? (await this.open());
    let timer: NodeJS.Timeout | undefined;
    const outcome = await new Promise<Outcome>((resolve) => {
      this.wake = resolve;
      timer = setTimeout(() => resolve({ kind: 'waits' }), patienceMs);
      socket.write(frame);
    });
    clearTimeout(timer);
    this.wake = () => {};
    if (outcome.kind === 'waits') this.close();
    return outcome;
  }

  close(): void {
    const socket = this.socket;
    this.socket = undefined;
    socket?.destroy();
  }
}

function frameOf(api: ApiDefinition, version: number, correlationId: number, body: Buffer): Buffer {
  const header = encodeRequestHeader(
    { apiKey: api.apiKey, apiVersion: version, correlationId, clientId: 'official-requests' },
    version >= api.flexibleFrom,
  );
  const length = Buffer.alloc(4);
  length.writeInt32BE(header.length + body.length);
  return Buffer.concat([length, header, body]);
}

function readAnswer(
  api: ApiDefinition,
  version: number,
  frame: Buffer,
): { correlationId: number; left: number } {
  const reader = new ByteReader(frame);
  const correlationId = decodeResponseHeader(reader, hasFlexibleResponseHeader(api.response, version));
  api.response.decode(reader, version);
  return { correlationId, left: reader.remaining };
}

const topicName = 'official-requests';
let topicId = '';

/** The same request about the topic that exists: its name, id and first partition wherever a topic is named. */
function aboutTheTopic(value: unknown, key = ''): unknown {
  if (Buffer.isBuffer(value)) return key === 'records' ? records : value;
  if (Array.isArray(value)) return value.map((each) => aboutTheTopic(each, key));
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, aboutTheTopic(each, name)]));
  }
  if (typeof value === 'string') {
    if (/^(name|topic|topics|topicName|topicNames)$/.test(key)) return topicName;
    return key === 'topicId' ? topicId : value;
  }
  if (typeof value === 'number') {
    if (/^(index|partitionIndex|partition|partitions|partitionIndexes)$/.test(key)) return 0;
    if (key === 'acks') return 1;
    if (key === 'timestamp') return -1;
    if (/^(currentLeaderEpoch|lastFetchedEpoch)$/.test(key)) return -1;
    if (/^(fetchOffset|logStartOffset|sessionId|sessionEpoch)$/.test(key)) return 0;
  }
  if (key === 'timestamp') return -1;
  return key === 'fetchOffset' ? 0 : value;
}

const records = buildRecordBatch([
  { timestamp: 1_700_000_000_000, key: Buffer.from('k'), value: Buffer.from('v') },
]);

interface Api {
  readonly definition: ApiDefinition;
  readonly minVersion: number;
  readonly maxVersion: number;
}

async function servedApis(client: Client): Promise<ReadonlyMap<number, Api>> {
  const versions = await client.ask(frameOf(apiByKey(18)!, 0, 0, Buffer.alloc(0)));
  if (versions.kind !== 'answer') throw new Error('no answer to ApiVersions');
  const { apiKeys } = apiVersionsResponse.decode(new ByteReader(versions.frame, 4), 0);
  return new Map(apiKeys.map((api) => [api.apiKey, { ...api, definition: apiByKey(api.apiKey)! }]));
}

/** Sends one request and says what was wrong with what came back. */
async function check(
  client: Client,
  api: ApiDefinition,
  version: number,
  correlationId: number,
  body: Buffer,
): Promise<{ readonly kind: Outcome['kind']; readonly faults: readonly string[] }> {
  const what = `${api.name} v${version} ${body.toString('hex').slice(0, 80)}`;
  const faults: string[] = [];
  const before = logged.length;
  const outcome = await client.ask(frameOf(api, version, correlationId, body));
  if (outcome.kind === 'answer') {
    try {
      const answer = readAnswer(api, version, outcome.frame);
      if (answer.correlationId !== correlationId)
        faults.push(`${what}: correlation id ${answer.correlationId}`);
      if (answer.left !== 0) faults.push(`${what}: ${answer.left} bytes too many`);
    } catch (error) {
      faults.push(`${what}: ${(error as Error).message}`);
    }
  }
  for (const line of logged.slice(before)) faults.push(`${what}: ${line.slice(0, 600)}`);
  return { kind: outcome.kind, faults };
}

it('answers every request of the official client in every version', async () => {
  const client = new Client();
  const served = await servedApis(client);
  expect(served.size).toBeGreaterThan(25);
  const outcomes = { answer: 0, closed: 0, waits: 0 };
  const faults: string[] = [];
  const seen = new Set<string>();
  let correlationId = 0;
  for (const vector of vectors) {
    const api = served.get(vector.apiKey);
    if (api === undefined || vector.version < api.minVersion || vector.version > api.maxVersion) continue;
    seen.add(`${vector.apiKey} ${vector.version}`);
    correlationId += 1;
    const body = Buffer.from(vector.hex, 'hex');
    const result = await check(client, api.definition, vector.version, correlationId, body);
    outcomes[result.kind] += 1;
    faults.push(...result.faults);
  }
  client.close();
  expect(faults).toEqual([]);

  const missing = [...served.values()].flatMap(({ definition, minVersion, maxVersion }) =>
    Array.from(
      { length: maxVersion - minVersion + 1 },
      (_, i) => `${definition.apiKey} ${minVersion + i}`,
    ).filter((version) => !seen.has(version)),
  );
  expect(missing).toEqual([]);
  // Requests that end their connection are produces with acks=0 to topics that do not exist; few wait.
  expect(outcomes.answer).toBeGreaterThan((outcomes.closed + outcomes.waits) * 10);
}, 60_000);

it('answers them about a topic that exists, too', async () => {
  const client = new Client();
  const served = await servedApis(client);
  let correlationId = 0;
  const next = (): number => {
    correlationId += 1;
    return correlationId;
  };
  const make = async (): Promise<void> => {
    const topic = { name: topicName, numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] };
    const create = encodeToBuffer(createTopicsRequest, { topics: [topic], timeoutMs: 1000 }, 2);
    await client.ask(frameOf(apiByKey(19)!, 2, next(), create));
    const metadata = encodeToBuffer(metadataRequest, { topics: [{ name: topicName }] }, 12);
    const answer = await client.ask(frameOf(apiByKey(3)!, 12, next(), metadata));
    if (answer.kind !== 'answer') throw new Error('no metadata');
    const reader = new ByteReader(answer.frame);
    decodeResponseHeader(reader, true);
    topicId = metadataResponse.decode(reader, 12).topics[0]!.topicId;
    const topicData = [{ name: topicName, partitionData: [{ index: 0, records }] }];
    const produce = encodeToBuffer(
      produceRequest,
      { transactionalId: null, acks: -1, timeoutMs: 1000, topicData },
      3,
    );
    await client.ask(frameOf(apiByKey(0)!, 3, next(), produce));
  };
  const faults: string[] = [];
  let answers = 0;
  await make();
  for (const vector of vectors) {
    const api = served.get(vector.apiKey);
    if (api === undefined || vector.version < api.minVersion || vector.version > api.maxVersion) continue;
    const { definition } = api;
    const request = definition.request.decode(new ByteReader(Buffer.from(vector.hex, 'hex')), vector.version);
    const body = encodeToBuffer(definition.request, aboutTheTopic(request), vector.version);
    const result = await check(client, definition, vector.version, next(), body);
    faults.push(...result.faults);
    if (result.kind === 'answer') answers += 1;
    // It may just have been deleted, or its records.
    if (definition.name === 'DeleteTopics' || definition.name === 'DeleteRecords') await make();
  }
  client.close();
  expect(faults).toEqual([]);
  expect(answers).toBeGreaterThan(500);
}, 60_000);
