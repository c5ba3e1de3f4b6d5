/**
 * One of the two brokers, as a scenario sees it: says what it is told on as many connections as wanted and writes down every
 * answer in comparable form.
 */
import type { ApiDefinition } from '../../protocol/api-definition.ts';
import { apis } from '../../protocol/generated/apis.ts';
import { fitRequest } from '../lib/fit-request.ts';
import { ConnectionGone, RawClient } from '../lib/raw-client.ts';
import { Names, type Plain, plainOf } from './plain.ts';

export interface Step {
  readonly api: string;
  readonly version: number;
  readonly label: string;
  readonly outcome: Plain;
  /** What makes the step worth nothing, whatever the other broker says: no answer, one that does not decode, a fault here. */
  readonly broken?: string;
}

/** A decoded answer of any API: looked into with `pick`. */
export type Answer = unknown;

const answerLimitMs = 20_000;
const settleLimitMs = 15_000;
const silenceMs = 500;

export class Peer {
  readonly title: string;
  readonly address: string;
  readonly names = new Names();
  steps: Step[] = [];
  private versionsServed: ReadonlyMap<string, readonly number[]> = new Map();
  private readonly connections = new Map<string, Promise<RawClient>>();

  constructor(title: string, address: string) {
    this.title = title;
    this.address = address;
    this.names.port = Number(address.slice(address.lastIndexOf(':') + 1));
  }

  /** What the broker serves of the versions that we know. */
  async advertised(): Promise<ReadonlyMap<string, readonly [number, number]>> {
    const answer = await this.quiet('ApiVersions', 3, {
      clientSoftwareName: 'differential',
      clientSoftwareVersion: '1',
    });
    const rows = pick(answer, 'apiKeys') as { apiKey: number; minVersion: number; maxVersion: number }[];
    return new Map(
      rows.flatMap(({ apiKey, minVersion, maxVersion }) => {
        const api = apis.find((one) => one.apiKey === apiKey);
        return api === undefined ? [] : [[api.name, [minVersion, Math.min(maxVersion, api.maxVersion)]]];
      }),
    );
  }

  /** Fixes the versions that scenarios go through. */
  speak(versions: ReadonlyMap<string, readonly number[]>): void {
    this.versionsServed = versions;
  }

  versions(api: string): readonly number[] {
    return this.versionsServed.get(api) ?? [];
  }

  /** The highest version that both serve. */
  latest(api: string): number {
    const last = this.versions(api).at(-1);
    if (last === undefined) throw new Error(`${api} is not served by both`);
    return last;
  }

  /** Sends and writes down what comes back: an answer, or how the connection ended. */
  async send(
    label: string,
    api: string,
    version: number,
    body: unknown,
    connection = 'main',
  ): Promise<Answer> {
    const step = { api, version, label };
    try {
      const answer = await this.exchange(api, version, body, connection);
      this.steps.push({ ...step, outcome: plainOf(answer, this.names) });
      return answer;
    } catch (error) {
      if (error instanceof ConnectionGone) this.steps.push({ ...step, outcome: 'the connection was closed' });
      else this.steps.push({ ...step, outcome: null, broken: String(error) });
      this.drop(connection);
      return undefined;
    }
  }

  /** `send` in the highest version. */
  say(label: string, api: string, body: unknown, connection?: string): Promise<Answer> {
    return this.send(label, api, this.latest(api), body, connection);
  }

  /** Sends again until the answer is as wanted, then writes the last one down: for what Kafka does a moment later. */
  async sendUntil(
    label: string,
    api: string,
    version: number,
    body: unknown,
    wanted: (answer: Answer) => boolean,
  ): Promise<Answer> {
    const answer = await this.until(api, version, body, wanted);
    this.steps.push({ api, version, label, outcome: plainOf(answer, this.names) });
    return answer;
  }

  /** Sends and writes nothing down. */
  quiet(api: string, version: number, body: unknown, connection = 'main'): Promise<Answer> {
    return this.exchange(api, version, body, connection);
  }

  async until(
    api: string,
    version: number,
    body: unknown,
    wanted: (answer: Answer) => boolean,
  ): Promise<Answer> {
    const deadline = Date.now() + settleLimitMs;
    for (;;) {
      const answer = await this.exchange(api, version, body, 'main');
      if (wanted(answer) || Date.now() > deadline) return answer;
      await new Promise((wait) => setTimeout(wait, 50));
    }
  }

  /** Notes something that is not an answer. */
  note(label: string, outcome: Plain): void {
    this.steps.push({ api: '-', version: 0, label, outcome });
  }

  /** A topic that is there, led and readable when this resolves. Returns its id. */
  async topic(name: string, partitions = 1, configs: Readonly<Record<string, string>> = {}): Promise<string> {
    await this.quiet('CreateTopics', 7, {
      topics: [
        {
          name,
          numPartitions: partitions,
          replicationFactor: 1,
          assignments: [],
          configs: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
        },
      ],
      timeoutMs: 10_000,
    });
    return this.topicReady(name, partitions);
  }

  /** Resolves with the topic's id once all its partitions answer. */
  async topicReady(name: string, partitions = 1): Promise<string> {
    const metadata = await this.until(
      'Metadata',
      12,
      { topics: [{ name }], allowAutoTopicCreation: false },
      (answer) =>
        pick(answer, 'topics', 0, 'errorCode') === 0 &&
        (pick(answer, 'topics', 0, 'partitions') as unknown[]).length === partitions,
    );
    await this.until(
      'ListOffsets',
      7,
      {
        replicaId: -1,
        isolationLevel: 0,
        topics: [
          {
            name,
            partitions: Array.from({ length: partitions }, (_, partitionIndex) => ({
              partitionIndex,
              timestamp: -1,
            })),
          },
        ],
      },
      (answer) =>
        (pick(answer, 'topics', 0, 'partitions') as { errorCode: number }[]).every(
          (row) => row.errorCode === 0,
        ),
    );
    const topicId = pick(metadata, 'topics', 0, 'topicId') as string;
    this.names.name(topicId, 'topic id', name);
    return topicId;
  }

  /** Whether the broker has closed the connection, or does so within a moment. */
  async closes(connection: string): Promise<boolean> {
    const client = await this.connections.get(connection);
    const deadline = Date.now() + 3_000;
    while (client !== undefined && !client.isClosed && Date.now() < deadline) {
      await new Promise((wait) => setTimeout(wait, 10));
    }
    return client?.isClosed ?? true;
  }

  async post(api: string, version: number, body: unknown, connection: string): Promise<void> {
    const definition = apiNamed(api);
    const client = await this.client(connection);
    await client.post(definition, version, fitRequest(definition, version, body));
  }

  /** The scenario could not go on. */
  breakOff(error: unknown): void {
    const broken = (error as Error).stack ?? String(error);
    this.steps.push({ api: '-', version: 0, label: 'the scenario could not go on', outcome: null, broken });
  }

  /** Sends a frame as it is; writes down the answer's bytes behind the correlation id, or that the connection was closed. */
  async raw(label: string, frame: Buffer, connection: string): Promise<void> {
    const client = await this.client(connection);
    let timer: NodeJS.Timeout | undefined;
    const silence = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve('no answer'), silenceMs);
    });
    const answer = client.exchange(frame).then(
      (bytes) => bytes.subarray(4).toString('hex'),
      () => 'the connection was closed',
    );
    this.note(label, await Promise.race([answer, silence]).finally(() => clearTimeout(timer)));
    this.drop(connection);
  }

  drop(connection: string): void {
    void this.connections.get(connection)?.then((client) => client.close());
    this.connections.delete(connection);
  }

  close(): void {
    for (const connection of [...this.connections.keys()]) this.drop(connection);
  }

  private client(connection: string): Promise<RawClient> {
    let client = this.connections.get(connection);
    if (client === undefined) {
      client = RawClient.connect(this.address, 'differential');
      this.connections.set(connection, client);
    }
    return client;
  }

  private async exchange(api: string, version: number, body: unknown, connection: string): Promise<Answer> {
    const definition = apiNamed(api);
    const client = await this.client(connection);
    const request = client.request(definition, version, fitRequest(definition, version, body));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error('no answer')), answerLimitMs);
    });
    return Promise.race([request, late]).finally(() => clearTimeout(timer));
  }
}

export function apiNamed(name: string): ApiDefinition {
  const api = apis.find((one) => one.name === name);
  if (api === undefined) throw new Error(`no API is called ${name}`);
  return api;
}

/** What lies at `path` of an answer; undefined where the path ends before. */
export function pick(answer: Answer, ...path: readonly (string | number)[]): unknown {
  let value: unknown = answer;
  for (const key of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<string | number, unknown>)[key];
  }
  return value;
}
