/**
 * What producers sent and what was acknowledged to them, kept outside the broker, and the judgement on what a log holds
 * after a crash: nothing acknowledged lost, nothing twice, nothing out of order, nothing that was not sent. Pure: no sockets.
 *
 * Every producer numbers its records in each partition from 0 and resends a batch until it is acknowledged, so the log must
 * hold each producer's numbers without a gap, at least to the last acknowledged one. A record's content follows from where it
 * belongs and its number.
 */

export interface AckedBatch {
  readonly firstNumber: number;
  readonly count: number;
  /** Undefined where the broker called it a duplicate and gave no offset. */
  readonly baseOffset: number | undefined;
  /** When the acknowledgement came, by this process' monotonic clock. */
  readonly atMs?: number;
}

/** A place in a partition's log, and the number that each producer's next record has there. */
export interface Checkpoint {
  readonly offset: number;
  readonly nextNumbers: ReadonlyMap<string, number>;
}

export interface ReadRecord {
  readonly offset: number;
  readonly key: string;
  readonly value: Buffer;
}

/** One partition's. */
export class PartitionJournal {
  readonly name: string;
  private readonly acked = new Map<string, AckedBatch[]>();
  private readonly sentUntil = new Map<string, number>();
  private readonly forgottenUntil = new Map<string, number>();

  constructor(name: string) {
    this.name = name;
  }

  /** The producer has begun to send these records. */
  sent(producer: string, firstNumber: number, count: number): void {
    this.sentUntil.set(producer, Math.max(this.sentUntil.get(producer) ?? 0, firstNumber + count));
  }

  acknowledged(producer: string, batch: AckedBatch): void {
    const batches = this.acked.get(producer);
    if (batches === undefined) this.acked.set(producer, [batch]);
    else batches.push(batch);
  }

  /** Numbers below it were acknowledged. */
  ackedUntil(producer: string): number {
    const last = this.acked.get(producer)?.at(-1);
    return last === undefined ? (this.forgottenUntil.get(producer) ?? 0) : last.firstNumber + last.count;
  }

  /** Numbers below it may be in the log. */
  mayHaveUntil(producer: string): number {
    return this.sentUntil.get(producer) ?? 0;
  }

  /** Numbers below it were acknowledged before that moment. */
  ackedUntilBefore(producer: string, beforeMs: number): number {
    const batches = this.batchesOf(producer);
    for (let at = batches.length - 1; at >= 0; at--) {
      const { firstNumber, count, atMs } = batches[at]!;
      if (atMs !== undefined && atMs < beforeMs) return firstNumber + count;
    }
    return this.forgottenUntil.get(producer) ?? 0;
  }

  /** Acknowledged batches that begin at the number or after it. */
  ackedFrom(producer: string, number: number): readonly AckedBatch[] {
    return this.batchesOf(producer).filter((batch) => batch.firstNumber >= number);
  }

  /** The end of the log is lost, as it may be: the producer goes on at `number`. */
  rewind(producer: string, number: number): void {
    this.sentUntil.set(producer, number);
    const batches = this.acked.get(producer);
    if (batches === undefined) return;
    while (batches.length > 0 && batches.at(-1)!.firstNumber >= number) batches.pop();
  }

  /** What was looked at and will not be read again need not be kept. */
  forgetBefore({ nextNumbers }: Checkpoint): void {
    for (const [producer, next] of nextNumbers) {
      const batches = this.acked.get(producer);
      if (batches === undefined) continue;
      const kept = batches.findIndex((batch) => batch.firstNumber + batch.count > next);
      const gone = kept < 0 ? batches.length : kept;
      if (gone === 0) continue;
      const last = batches[gone - 1]!;
      this.forgottenUntil.set(producer, last.firstNumber + last.count);
      this.acked.set(producer, batches.slice(gone));
    }
  }

  producers(): readonly string[] {
    return [...this.sentUntil.keys()];
  }

  /** The acknowledged batch that holds the number, or the next one; batches are in the order of their numbers. */
  batchWith(producer: string, number: number): AckedBatch | undefined {
    const batches = this.batchesOf(producer);
    let low = 0;
    let high = batches.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const batch = batches[middle]!;
      if (batch.firstNumber + batch.count <= number) low = middle + 1;
      else high = middle;
    }
    return batches[low];
  }

  batchesOf(producer: string): readonly AckedBatch[] {
    return this.acked.get(producer) ?? [];
  }
}

/** Record contents: the number and filler of a size and text that follow from the number. */
export function recordValue(partition: string, producer: string, number: number): Buffer {
  const sizeBytes = number % 97 === 0 ? 20_000 : 64 + ((number * 7919) % 300);
  return Buffer.alloc(sizeBytes, `${partition}|${producer}|${number};`);
}

const failuresKept = 20;

/** Reads one partition's log from its start or a checkpoint, in parts, and judges it. */
export class PartitionChecker {
  readonly failures: string[] = [];
  nextOffset: number;
  private readonly journal: PartitionJournal;
  private readonly nextNumber: Map<string, number>;

  constructor(journal: PartitionJournal, from: Checkpoint = { offset: 0, nextNumbers: new Map() }) {
    this.journal = journal;
    this.nextOffset = from.offset;
    this.nextNumber = new Map(from.nextNumbers);
  }

  /** Where it is. */
  checkpoint(): Checkpoint {
    return { offset: this.nextOffset, nextNumbers: new Map(this.nextNumber) };
  }

  /** The next record of the log. */
  see(record: ReadRecord): void {
    const { offset, key, value } = record;
    if (offset !== this.nextOffset) this.fail(`offset ${offset} comes after ${this.nextOffset - 1}`);
    this.nextOffset = offset + 1;
    const expected = this.nextNumber.get(key) ?? 0;
    const found = /\|(\d+);/.exec(value.toString('latin1', 0, 200));
    const number = found === null ? Number.NaN : Number(found[1]);
    if (number < expected) this.fail(`offset ${offset}: record ${number} of ${key} a second time`);
    else if (number > expected)
      this.fail(`offset ${offset}: record ${number} of ${key} where ${expected} is due`);
    this.nextNumber.set(key, Math.max(expected, number + 1));
    if (!(number < this.journal.mayHaveUntil(key))) {
      this.fail(`offset ${offset}: record ${number} of ${key} was never sent`);
    } else if (!value.equals(recordValue(this.journal.name, key, number))) {
      this.fail(`offset ${offset}: record ${number} of ${key} has other bytes than those sent`);
    }
    this.seeBatch(key, number, offset);
  }

  /** The end of the log is reached: what was acknowledged until a moment ago must have come by. */
  end(ackedUntil: ReadonlyMap<string, number>): void {
    for (const [producer, until] of ackedUntil) {
      const next = this.nextNumber.get(producer) ?? 0;
      if (next < until)
        this.fail(`records ${next} to ${until - 1} of ${producer} were acknowledged and are lost`);
    }
  }

  /** Acknowledged offsets must be where the records are. */
  private seeBatch(producer: string, number: number, offset: number): void {
    const batch = this.journal.batchWith(producer, number);
    if (batch?.baseOffset === undefined || number < batch.firstNumber) return;
    const acknowledged = batch.baseOffset + number - batch.firstNumber;
    if (acknowledged !== offset) {
      this.fail(
        `record ${number} of ${producer} was acknowledged at offset ${acknowledged} and is at ${offset}`,
      );
    }
  }

  private fail(what: string): void {
    if (this.failures.length < failuresKept) this.failures.push(`${this.journal.name}: ${what}`);
  }
}
