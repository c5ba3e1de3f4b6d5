/**
 * Producer ids: taken from the catalogue in blocks by compare-and-set, so that none is ever given out twice, whatever
 * crashes and however many brokers share the catalogue. What is left of a block when the process ends is lost. Knows
 * nothing of transactions.
 */
import type { Catalogue } from '../../storage/engine.ts';

/** Ids of one block (Kafka's ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE). */
export const producerIdBlockSize = 1000;
/** The catalogue's key; the value is the first id that no block has taken, in decimal digits. */
export const producerIdsKey = 'producer-ids/next';
/** Lost races for a block in a row after which a caller is told to come again. */
const maxAttempts = 50;

export class ProducerIds {
  private readonly catalogue: Pick<Catalogue, 'get' | 'update'>;
  private next = 0;
  private end = 0;
  private refill: Promise<void> | undefined;

  constructor(catalogue: Pick<Catalogue, 'get' | 'update'>) {
    this.catalogue = catalogue;
  }

  /** A producer id that nobody ever had. Rejects where no block can be had at the moment. */
  async allocate(): Promise<number> {
    while (this.next >= this.end) {
      this.refill ??= this.takeBlock().finally(() => {
        this.refill = undefined;
      });
      await this.refill;
    }
    return this.next++;
  }

  private async takeBlock(): Promise<void> {
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const entry = this.catalogue.get(producerIdsKey);
      const first = entry === undefined ? 0 : parseNext(entry.value);
      const end = first + producerIdBlockSize;
      const outcome = await this.catalogue.update({
        changes: [
          { key: producerIdsKey, expectedVersion: entry?.version ?? 0, value: Buffer.from(String(end)) },
        ],
      });
      if (outcome.outcome === 'conflict') continue;
      this.next = first;
      this.end = end;
      return;
    }
    throw new Error(`no block of producer ids after ${maxAttempts} attempts`);
  }
}

function parseNext(value: Buffer): number {
  const text = value.toString('latin1');
  const next = Number(text);
  if (!/^[0-9]+$/.test(text) || !Number.isSafeInteger(next + producerIdBlockSize)) {
    throw new Error(`the catalogue's ${producerIdsKey} is damaged: ${JSON.stringify(text)}`);
  }
  return next;
}
