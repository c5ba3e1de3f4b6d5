/**
 * Clients that do everything transactions are for, at once, and write down what they did and saw: writers (1 to 4 sends, some aborted,
 * some given up in the middle), copiers that read, process and commit their offsets with what they write (with twins that take over
 * while the first still lives), and readers. What goes wrong around them is the caller's affair.
 */
import { createTopicsRequest, createTopicsResponse } from '../../protocol/generated/19-create-topics.ts';
import { readCommittedFrom } from './committed-reader.ts';
import type { Consumed, History, Operation, SeenRecord, Send } from './history.ts';
import {
  fetchOffset,
  GivenUp,
  PatientClient,
  type Place,
  TransactionalClient,
  TransactionLost,
  type TransactionVersion,
} from './transactional-client.ts';

export interface WorkloadOptions {
  readonly port: number;
  /** Part of every name, so that runs on one broker do not meet. */
  readonly name: string;
  /** Transactions to be ended, all clients together. */
  readonly transactions: number;
  readonly random: () => number;
  readonly writers: number;
  readonly readers: number;
  /** Told of each transaction that ended. */
  readonly ended?: (count: number) => void;
}

export interface WorkloadResult {
  readonly history: History;
  readonly outcomes: Readonly<Record<'committed' | 'aborted' | 'unknown', number>>;
  /** Errors that ended a transaction, with how often. */
  readonly errors: ReadonlyMap<string, number>;
}

const partitionsPerTopic = 2;
const recordsPerCopy = 5;

export async function runWorkload(options: WorkloadOptions): Promise<WorkloadResult> {
  const run = new Workload(options);
  return run.run();
}

class Workload {
  private readonly options: WorkloadOptions;
  private readonly inputTopic: string;
  private readonly outputTopic: string;
  private readonly group: string;
  private readonly operations: Operation[] = [];
  private readonly errors = new Map<string, number>();
  private readonly outcomes = { committed: 0, aborted: 0, unknown: 0 };
  private ended = 0;
  private nextValue = 1;
  private readersAreDone = false;

  constructor(options: WorkloadOptions) {
    this.options = options;
    this.inputTopic = `${options.name}-in`;
    this.outputTopic = `${options.name}-out`;
    this.group = `${options.name}-copiers`;
  }

  async run(): Promise<WorkloadResult> {
    const { writers, readers } = this.options;
    await this.createTopics();
    const reading = Array.from({ length: readers }, (_, at) => this.read(`reader-${at}`));
    await Promise.all([
      ...Array.from({ length: writers }, (_, at) => this.write(`writer-${at}`, at % 2 === 0 ? 2 : 1)),
      ...Array.from({ length: partitionsPerTopic }, (_, index) => this.copy(index)),
    ]);
    this.readersAreDone = true;
    await Promise.all(reading);
    const client = new PatientClient('last-reader', this.options.port, () => false);
    const final = new Map<string, readonly SeenRecord[]>();
    const finalOffsets = new Map<string, number>();
    for (const place of this.places()) {
      final.set(nameOf(place), await readAll(client, place));
      if (place.topic !== this.inputTopic) continue;
      finalOffsets.set(nameOf(place), Math.max(0, await fetchOffset(client, this.group, place)));
    }
    client.close();
    return {
      history: { operations: this.operations, final, finalOffsets },
      outcomes: this.outcomes,
      errors: this.errors,
    };
  }

  private get isDone(): boolean {
    return this.ended >= this.options.transactions;
  }

  private places(): Place[] {
    return [this.inputTopic, this.outputTopic].flatMap((topic) =>
      Array.from({ length: partitionsPerTopic }, (_, index) => ({ topic, index })),
    );
  }

  private async createTopics(): Promise<void> {
    const client = new PatientClient('creator', this.options.port, () => false);
    await client.ask(
      (connection) =>
        connection.request(createTopicsRequest, createTopicsResponse, 4, {
          topics: [this.inputTopic, this.outputTopic].map((name) => ({
            name,
            numPartitions: partitionsPerTopic,
            replicationFactor: 1,
            assignments: [],
            configs: [],
          })),
          timeoutMs: 10_000,
        }),
      () => 0,
    );
    client.close();
  }

  // ----- writers

  private async write(name: string, version: TransactionVersion): Promise<void> {
    const { random } = this.options;
    while (!this.isDone) {
      await this.withProducer(name, this.idOf(name), version, async (producer) => {
        while (!this.isDone) {
          const places = this.places().filter(({ topic }) => topic === this.inputTopic || random() < 0.3);
          await this.transaction(name, producer, async (sends) => {
            for (let left = 1 + Math.floor(random() * 4); left > 0; left--) {
              await this.send(
                producer,
                places[Math.floor(random() * places.length)]!,
                1 + Math.floor(random() * 3),
                sends,
              );
            }
            return undefined;
          });
        }
      });
    }
    await this.settle(this.idOf(name));
  }

  private idOf(name: string): string {
    return `${this.options.name}-${name}`;
  }

  /** Ends what the last producer of the id left open. */
  private async settle(transactionalId: string): Promise<void> {
    const client = new PatientClient(transactionalId, this.options.port, () => false);
    await new TransactionalClient(transactionalId, 2, client).init();
    client.close();
  }

  private async send(
    producer: TransactionalClient,
    place: Place,
    count: number,
    sends: Send[],
  ): Promise<void> {
    const values = Array.from({ length: count }, () => this.nextValue++);
    const at = sends.length;
    for (const value of values) sends.push({ partition: nameOf(place), value });
    const offset = await producer.send(place, values);
    if (offset === undefined) return;
    for (const [delta, value] of values.entries()) {
      sends[at + delta] = { partition: nameOf(place), value, offset: offset + delta };
    }
  }

  // ----- copiers

  private async copy(index: number): Promise<void> {
    const { random } = this.options;
    const transactionalId = `${this.options.name}-copier-${index}`;
    const twins: Promise<void>[] = [];
    for (let life = 0; !this.isDone; life++) {
      const process = `${transactionalId}/${life}`;
      let isOld = false;
      const living = this.withProducer(
        process,
        transactionalId,
        life % 2 === 0 ? 2 : 1,
        async (producer, client) => {
          while (!this.isDone || isOld) {
            if (!(await this.copyOnce(process, producer, client, { topic: this.inputTopic, index }))) {
              if (isOld || this.isDone) return;
              await pause(5);
            }
            if (isOld) await pause(random() * 20);
          }
        },
      );
      // Now and then the next one starts while this one still lives; it must be fenced.
      await Promise.race([living, pause(200 + random() * 800)]);
      isOld = true;
      twins.push(living);
      if (twins.length > 2) await twins.shift();
    }
    await Promise.all(twins);
    await this.settle(transactionalId);
  }

  private async copyOnce(
    process: string,
    producer: TransactionalClient,
    client: PatientClient,
    place: Place,
  ): Promise<boolean> {
    const { random } = this.options;
    const startMs = performance.now();
    const offset = await fetchOffset(client, this.group, place);
    const partition = nameOf(place);
    this.operations.push({
      kind: 'offset-fetch',
      group: this.group,
      partition,
      offset,
      startMs,
      endMs: performance.now(),
    });
    const { records } = await readCommittedFrom(client, place, Math.max(0, offset), 100_000);
    const taken = records.slice(0, recordsPerCopy);
    if (taken.length === 0) return false;
    await this.transaction(process, producer, async (sends) => {
      const target: Place = { topic: this.outputTopic, index: Math.floor(random() * partitionsPerTopic) };
      await this.send(producer, target, taken.length, sends);
      const toOffset = taken.at(-1)!.offset + 1;
      const consumed: Consumed = {
        group: this.group,
        partition,
        values: taken.map(({ value }) => value),
        toOffset,
      };
      await producer.commitOffset(this.group, place, toOffset);
      return consumed;
    });
    return true;
  }

  // ----- what all producers do

  /** With a producer that is initialised; when its transaction is lost it returns. */
  private async withProducer(
    name: string,
    transactionalId: string,
    version: TransactionVersion,
    use: (producer: TransactionalClient, client: PatientClient) => Promise<void>,
  ): Promise<void> {
    let givesUp = false;
    const client = new PatientClient(name, this.options.port, () => givesUp);
    const producer = new TransactionalClient(transactionalId, version, client);
    // A client that dies with its requests under way.
    const death = setTimeout(
      () => {
        givesUp = true;
        client.close();
      },
      500 + this.options.random() * 4000,
    );
    try {
      await producer.init();
      await use(producer, client);
    } catch (error) {
      if (!(error instanceof TransactionLost) && !(error instanceof GivenUp)) throw error;
      if (error instanceof TransactionLost)
        this.errors.set(error.message, (this.errors.get(error.message) ?? 0) + 1);
    } finally {
      clearTimeout(death);
      client.close();
    }
  }

  private async transaction(
    process: string,
    producer: TransactionalClient,
    body: (sends: Send[]) => Promise<Consumed | undefined>,
  ): Promise<void> {
    const sends: Send[] = [];
    let consumed: Consumed | undefined;
    let commitAskedMs: number | undefined;
    let outcome: 'committed' | 'aborted' | 'unknown' = 'aborted';
    try {
      consumed = await body(sends);
      if (this.options.random() < 0.15) {
        await producer.end(false);
      } else {
        commitAskedMs = performance.now();
        outcome = 'unknown';
        await producer.end(true);
        outcome = 'committed';
      }
    } finally {
      this.outcomes[outcome]++;
      this.ended++;
      this.options.ended?.(this.ended);
      this.operations.push({
        kind: 'transaction',
        process,
        outcome,
        sends,
        ...(consumed === undefined ? {} : { consumed }),
        ...(commitAskedMs === undefined ? {} : { commitAskedMs }),
        endMs: performance.now(),
      });
    }
  }

  // ----- readers

  private async read(name: string): Promise<void> {
    const { random } = this.options;
    const client = new PatientClient(name, this.options.port, () => false);
    const positions = new Map<string, { position: number; session: number }>();
    while (!this.readersAreDone) {
      for (const place of this.places()) {
        const partition = nameOf(place);
        const { position, session } = positions.get(partition) ?? { position: 0, session: 0 };
        const startMs = performance.now();
        const { records, nextPosition } = await readCommittedFrom(client, place, position, 20_000);
        this.operations.push({
          kind: 'poll',
          process: name,
          session,
          partition,
          position,
          nextPosition,
          records,
          startMs,
          endMs: performance.now(),
        });
        const seeks = random() < 0.01;
        positions.set(
          partition,
          seeks
            ? { position: Math.floor(random() * nextPosition), session: session + 1 }
            : { position: nextPosition, session },
        );
      }
      await pause(random() * 10);
    }
    client.close();
  }
}

/** Everything committed, once no transaction is open any more. */
async function readAll(client: PatientClient, place: Place): Promise<readonly SeenRecord[]> {
  const all: SeenRecord[] = [];
  const untilMs = performance.now() + 30_000;
  for (let position = 0; ; ) {
    const { records, nextPosition, lastStableOffset, highWatermark } = await readCommittedFrom(
      client,
      place,
      position,
    );
    all.push(...records);
    if (nextPosition === position) {
      if (lastStableOffset === highWatermark && position === highWatermark) return all;
      if (performance.now() > untilMs) {
        throw new Error(`${nameOf(place)} stays unstable at ${lastStableOffset} of ${highWatermark}`);
      }
      await pause(50);
    }
    position = nextPosition;
  }
}

function nameOf({ topic, index }: Place): string {
  return `${topic}-${index}`;
}

function pause(forMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, forMs));
}
