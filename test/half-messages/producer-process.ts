/** One producer.ts process after the other: a new one takes over where one was killed. */
import { type ChildProcess, fork } from 'node:child_process';
import type { Verdict } from '../../src/kafkajs/index.ts';
import type { FromProducer, ToProducer } from './producer.ts';

export class ProducerProcess {
  private readonly program: string;
  private readonly args: readonly string[];
  private child: ChildProcess | undefined;
  private readonly heard: FromProducer[] = [];
  private waiting: ((message: FromProducer) => void) | undefined;

  constructor(program: string, args: readonly string[]) {
    this.program = program;
    this.args = args;
  }

  /** Begins a transfer; the process says `sending` next. */
  async begin(txnId: string, partition: number): Promise<void> {
    if (this.child === undefined) await this.start();
    this.tell({ txnId, partition });
  }

  decide(verdict: Verdict): void {
    this.tell({ verdict });
  }

  /** What the process says next. */
  next(): Promise<FromProducer> {
    const first = this.heard.shift();
    if (first !== undefined) return Promise.resolve(first);
    return new Promise((resolve) => {
      this.waiting = resolve;
    });
  }

  /** kill -9; resolves when it is dead. */
  async kill(): Promise<void> {
    const { child } = this;
    if (child === undefined) return;
    this.child = undefined;
    this.heard.length = 0;
    this.waiting = undefined;
    const dead = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await dead;
  }

  private async start(): Promise<void> {
    const child = fork(this.program, this.args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.child = child;
    child.on('message', (message: FromProducer) => {
      if (this.child !== child) return;
      const { waiting } = this;
      this.waiting = undefined;
      if (waiting === undefined) this.heard.push(message);
      else waiting(message);
    });
    child.once('exit', () => {
      if (this.child === child) throw new Error('a producer ended by itself');
    });
    if ((await this.next()).step !== 'ready') throw new Error('a producer did not begin');
  }

  private tell(message: ToProducer): void {
    this.child?.send(message, () => {});
  }
}
