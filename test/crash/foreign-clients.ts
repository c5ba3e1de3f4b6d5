/**
 * Real idempotent producers that stay up while the broker is killed and started again: kafkajs in this process, librdkafka in one of
 * its own. Each has a partition to itself, one of `foreignTopic`, and writes what it does into its journal.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import kafkajs from 'kafkajs';
import { PartitionJournal, recordValue } from './journal.ts';

export const foreignTopic = 'crash-clients';
export type ForeignClientName = 'kafkajs' | 'librdkafka';
export const foreignClientNames: readonly ForeignClientName[] = ['kafkajs', 'librdkafka'];

const recordsPerSecond = 300;

export interface ForeignClient {
  readonly name: string;
  readonly partition: number;
  readonly journal: PartitionJournal;
  readonly failures: readonly string[];
  /** The topic must be there. */
  start(port: number): Promise<void>;
  /** No new records; resolves when all are acknowledged, or cannot be. */
  stop(): Promise<void>;
  /** At once, whatever is under way. */
  end(): void;
}

/** `python`: an interpreter with the package confluent_kafka; undefined where there is none. */
export function pythonWithLibrdkafka(): string | undefined {
  const cache =
    process.env.COMPAT_CACHE ??
    join(process.env.XDG_CACHE_HOME ?? `${process.env.HOME}/.cache`, 'odradek-compat');
  const candidates = [process.env.CRASH_PYTHON, join(cache, 'venv-confluent-kafka/bin/python'), 'python3'];
  return candidates.find(
    (python) => python !== undefined && spawnSync(python, ['-c', 'import confluent_kafka']).status === 0,
  );
}

export function foreignClient(
  name: ForeignClientName,
  root: string,
  python: string | undefined,
): ForeignClient {
  return name === 'kafkajs' ? new KafkajsClient() : new LibrdkafkaClient(root, python!);
}

class KafkajsClient implements ForeignClient {
  readonly name = 'kafkajs';
  readonly partition = 0;
  readonly journal = new PartitionJournal(`${foreignTopic}-0`);
  readonly failures: string[] = [];
  private isStopping = false;
  private producing: Promise<void> | undefined;
  private producer: kafkajs.Producer | undefined;

  async start(port: number): Promise<void> {
    const kafka = new kafkajs.Kafka({
      clientId: this.name,
      brokers: [`127.0.0.1:${port}`],
      logLevel: kafkajs.logLevel.NOTHING,
      connectionTimeout: 2000,
      requestTimeout: 10_000,
      retry: { initialRetryTime: 20, maxRetryTime: 100, retries: Number.MAX_SAFE_INTEGER },
    });
    this.producer = kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      createPartitioner: () => () => 0,
      retry: { initialRetryTime: 20, maxRetryTime: 100, retries: Number.MAX_SAFE_INTEGER },
    });
    await this.producer.connect();
    this.producing = this.produce(this.producer).catch((error: Error) => {
      this.failures.push(`kafkajs gave up: ${error.message}`);
    });
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    await this.producing;
    await this.producer?.disconnect();
  }

  end(): void {
    this.isStopping = true;
    void this.producer?.disconnect().catch(() => {});
  }

  private async produce(producer: kafkajs.Producer): Promise<void> {
    for (let number = 0; !this.isStopping; ) {
      const count = 1 + (number % 7);
      this.journal.sent(this.name, number, count);
      const [answer] = await producer.send({
        topic: foreignTopic,
        acks: -1,
        messages: Array.from({ length: count }, (_, at) => ({
          partition: 0,
          key: this.name,
          value: recordValue(this.journal.name, this.name, number + at),
        })),
      });
      const baseOffset = Number(answer?.baseOffset);
      this.journal.acknowledged(this.name, {
        firstNumber: number,
        count,
        baseOffset: baseOffset >= 0 ? baseOffset : undefined,
        atMs: performance.now(),
      });
      number += count;
      await new Promise((resolve) => setTimeout(resolve, (1000 * count) / recordsPerSecond));
    }
  }
}

class LibrdkafkaClient implements ForeignClient {
  readonly name = 'librdkafka';
  readonly partition = 1;
  readonly journal = new PartitionJournal(`${foreignTopic}-1`);
  readonly failures: string[] = [];
  private readonly script: string;
  private readonly python: string;
  private child: ChildProcess | undefined;
  private ended: Promise<unknown> = Promise.resolve();
  private isDone = false;

  constructor(root: string, python: string) {
    this.script = join(root, 'test/crash/librdkafka-producer.py');
    this.python = python;
  }

  async start(port: number): Promise<void> {
    const args = [this.script, `127.0.0.1:${port}`, foreignTopic, '1', this.name, String(recordsPerSecond)];
    this.child = spawn(this.python, args, { stdio: ['pipe', 'pipe', 'ignore'] });
    const lines = createInterface({ input: this.child.stdout! });
    lines.on('line', (line) => this.take(line));
    this.ended = once(lines, 'close');
  }

  async stop(): Promise<void> {
    this.child?.stdin?.end();
    await this.ended;
    if (!this.isDone) this.failures.push('librdkafka ended before all was acknowledged');
  }

  end(): void {
    this.child?.kill('SIGKILL');
  }

  private take(line: string): void {
    const [what, first, second] = line.split(' ');
    if (what === 'sent') this.journal.sent(this.name, Number(first), 1);
    else if (what === 'acked') {
      const offset = Number(second);
      this.journal.acknowledged(this.name, {
        firstNumber: Number(first),
        count: 1,
        baseOffset: offset >= 0 ? offset : undefined,
        atMs: performance.now(),
      });
    } else if (what === 'done') this.isDone = true;
    else this.failures.push(`librdkafka says: ${line}`);
  }
}
