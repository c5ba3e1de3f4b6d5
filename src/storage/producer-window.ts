/**
 * De-duplication of idempotent producers: the last five batches of every (queue, producer id), and whether a new batch
 * follows them. Used by every engine inside append. Knows nothing of entries' bytes, files or Kafka's error codes.
 *
 * Rules (KIP-98, KIP-360; Kafka's ProducerAppendInfo): an exact repeat of a kept batch of the same epoch is a duplicate; else the
 * first sequence must follow the last one; an older epoch is refused; a newer epoch begins at sequence 0; of a producer that
 * is not known (also because it was evicted) any first sequence is accepted.
 */
import type { Clock } from '../util/clock.ts';
import type { ProducerFacts, ProducerState, QueueId } from './engine.ts';

export const batchesKeptPerProducer = 5;
const largestSequence = 2 ** 31 - 1;
const snapshotVersion = 1;

export interface ProducerWindowLimits {
  /** (queue, producer id) pairs kept; beyond it the one that appended longest ago is forgotten. */
  readonly maxProducers: number;
  /** A pair that did not append for so long is forgotten (Kafka's producer.id.expiration.ms). */
  readonly expirationMs: number;
}

export const defaultProducerWindowLimits: ProducerWindowLimits = {
  maxProducers: 100_000,
  expirationMs: 86_400_000,
};

/** What the engine knows of an appended entry besides its producer facts. */
export interface RecordedBatch {
  readonly baseOffset: number;
  /** The last offset that the entry takes. */
  readonly lastOffset: number;
  readonly storeTimeMs: number;
  readonly maxTimestampMs: number;
}

export type SequenceVerdict =
  | { readonly kind: 'next' }
  | { readonly kind: 'duplicate'; readonly baseOffset: number; readonly storeTimeMs: number }
  | { readonly kind: 'out-of-order-sequence' }
  | { readonly kind: 'stale-producer-epoch' };

const next: SequenceVerdict = { kind: 'next' };
const outOfOrder: SequenceVerdict = { kind: 'out-of-order-sequence' };
const stale: SequenceVerdict = { kind: 'stale-producer-epoch' };

interface KeptBatch extends RecordedBatch {
  readonly firstSequence: number;
  readonly lastSequence: number;
}

interface KnownProducer {
  readonly queue: QueueId;
  readonly producerId: number;
  epoch: number;
  /** The sequence that the next new batch must begin with. */
  nextSequence: number;
  /** Oldest first, all of `epoch`. */
  batches: KeptBatch[];
  touchedMs: number;
  // Neighbours in the order of last append; the list's head is the next to be forgotten.
  older: KnownProducer | undefined;
  newer: KnownProducer | undefined;
}

/** The sequence after `sequence`, wrapping from 2^31-1 to 0. */
export function sequenceAfter(sequence: number): number {
  return sequence === largestSequence ? 0 : sequence + 1;
}

export class ProducerWindow {
  private readonly clock: Clock;
  private readonly limits: ProducerWindowLimits;
  private readonly queues = new Map<QueueId, Map<number, KnownProducer>>();
  private oldest: KnownProducer | undefined;
  private newest: KnownProducer | undefined;
  private known = 0;

  constructor(clock: Clock, limits: ProducerWindowLimits = defaultProducerWindowLimits) {
    this.clock = clock;
    this.limits = limits;
  }

  /** (queue, producer id) pairs remembered. */
  get size(): number {
    return this.known;
  }

  /**
   * One verdict an entry, in order, as if the entries before it in the group were recorded already (undefined: no producer, no
   * verdict). Changes nothing; undefined when every verdict is `next`. Facts with firstSequence -1 (markers) have
   * their epoch checked and no sequence.
   */
  checkGroup(
    group: readonly (ProducerFacts | undefined)[],
  ): readonly (SequenceVerdict | undefined)[] | undefined {
    let verdicts: (SequenceVerdict | undefined)[] | undefined;
    let earlier: Map<QueueId, Map<number, ProducerFacts>> | undefined;
    for (let at = 0; at < group.length; at++) {
      const facts = group[at];
      if (facts === undefined) continue;
      const previous = earlier?.get(facts.countsForQueue)?.get(facts.producerId);
      const verdict = previous === undefined ? this.check(facts) : checkAfter(previous, facts);
      if (verdict !== next) {
        verdicts ??= group.map((one) => (one === undefined ? undefined : next));
        verdicts[at] = verdict;
      }
      if (group.length > 1 && (facts.firstSequence >= 0 || this.raisesEpoch(previous, facts))) {
        earlier ??= new Map();
        let ofQueue = earlier.get(facts.countsForQueue);
        if (ofQueue === undefined) {
          ofQueue = new Map();
          earlier.set(facts.countsForQueue, ofQueue);
        }
        ofQueue.set(facts.producerId, facts);
      }
    }
    return verdicts;
  }

  /** The verdict on one batch. Changes nothing but forgetting who is too old. */
  check(facts: ProducerFacts): SequenceVerdict {
    const producer = this.find(facts.countsForQueue, facts.producerId);
    if (producer === undefined) return next;
    if (facts.producerEpoch < producer.epoch) return stale;
    if (facts.firstSequence < 0) return next;
    if (facts.producerEpoch > producer.epoch) return facts.firstSequence === 0 ? next : outOfOrder;
    if (facts.firstSequence === producer.nextSequence) return next;
    for (const batch of producer.batches) {
      if (batch.firstSequence === facts.firstSequence && batch.lastSequence === facts.lastSequence) {
        return { kind: 'duplicate', baseOffset: batch.baseOffset, storeTimeMs: batch.storeTimeMs };
      }
    }
    return outOfOrder;
  }

  /** Remembers an appended batch, checked before or found in the log by recovery. Never refuses. */
  record(facts: ProducerFacts, batch: RecordedBatch): void {
    const nowMs = this.clock.monotonicMs();
    let producer = this.find(facts.countsForQueue, facts.producerId);
    if (producer === undefined) {
      producer = this.add(facts.countsForQueue, facts.producerId, facts.producerEpoch);
    } else {
      this.unlink(producer);
      if (facts.producerEpoch > producer.epoch) {
        producer.epoch = facts.producerEpoch;
        producer.nextSequence = 0;
        producer.batches = [];
      }
    }
    producer.touchedMs = nowMs;
    this.linkNewest(producer);
    if (facts.firstSequence >= 0 && facts.producerEpoch === producer.epoch) {
      producer.nextSequence = sequenceAfter(facts.lastSequence);
      if (producer.batches.length === batchesKeptPerProducer) producer.batches.shift();
      producer.batches.push({
        firstSequence: facts.firstSequence,
        lastSequence: facts.lastSequence,
        baseOffset: batch.baseOffset,
        lastOffset: batch.lastOffset,
        storeTimeMs: batch.storeTimeMs,
        maxTimestampMs: batch.maxTimestampMs,
      });
    }
    this.evict(nowMs);
  }

  /**
   * Takes back a recorded batch whose write failed, so that the producer's retry is the next one again. Batches are taken
   * back newest first; one that is no longer kept is ignored.
   */
  retract(facts: ProducerFacts, baseOffset: number): void {
    const producer = this.queues.get(facts.countsForQueue)?.get(facts.producerId);
    if (producer === undefined || producer.epoch !== facts.producerEpoch) return;
    const last = producer.batches.at(-1);
    if (last === undefined || last.firstSequence !== facts.firstSequence || last.baseOffset !== baseOffset)
      return;
    producer.batches.pop();
    producer.nextSequence = facts.firstSequence;
  }

  /** Live producers of the queue, the one that appended longest ago first. */
  producers(queue: QueueId): readonly ProducerState[] {
    const ofQueue = this.queues.get(queue);
    if (ofQueue === undefined) return [];
    const nowMs = this.clock.monotonicMs();
    const live = [...ofQueue.values()].filter(
      (producer) => nowMs - producer.touchedMs <= this.limits.expirationMs,
    );
    live.sort((a, b) => a.touchedMs - b.touchedMs || a.producerId - b.producerId);
    return live.map((producer) => {
      const last = producer.batches.at(-1);
      return {
        producerId: producer.producerId,
        producerEpoch: producer.epoch,
        lastSequence: last?.lastSequence ?? -1,
        lastOffset: last?.lastOffset ?? -1,
        lastTimestampMs: last?.maxTimestampMs ?? -1,
      };
    });
  }

  /** Forgets every producer of a queue that ended. */
  dropQueue(queue: QueueId): void {
    const ofQueue = this.queues.get(queue);
    if (ofQueue === undefined) return;
    for (const producer of ofQueue.values()) this.unlink(producer);
    this.known -= ofQueue.size;
    this.queues.delete(queue);
  }

  /**
   * Everything remembered, as bytes for a snapshot (no checksum of its own; numbers little-endian, 64-bit ones as doubles).
   * Ages are kept as wall time.
   */
  serialize(): Buffer {
    let sizeBytes = 5;
    for (let producer = this.oldest; producer !== undefined; producer = producer.newer) {
      sizeBytes += 33 + producer.batches.length * 40;
    }
    const bytes = Buffer.allocUnsafe(sizeBytes);
    const wallMs = this.clock.nowMs();
    const nowMs = this.clock.monotonicMs();
    let at = bytes.writeUInt8(snapshotVersion, 0);
    at = bytes.writeUInt32LE(this.known, at);
    for (let producer = this.oldest; producer !== undefined; producer = producer.newer) {
      at = bytes.writeDoubleLE(producer.queue, at);
      at = bytes.writeDoubleLE(producer.producerId, at);
      at = bytes.writeInt32LE(producer.epoch, at);
      at = bytes.writeInt32LE(producer.nextSequence, at);
      at = bytes.writeDoubleLE(wallMs - (nowMs - producer.touchedMs), at);
      at = bytes.writeUInt8(producer.batches.length, at);
      for (const batch of producer.batches) {
        at = bytes.writeInt32LE(batch.firstSequence, at);
        at = bytes.writeInt32LE(batch.lastSequence, at);
        at = bytes.writeDoubleLE(batch.baseOffset, at);
        at = bytes.writeDoubleLE(batch.lastOffset, at);
        at = bytes.writeDoubleLE(batch.storeTimeMs, at);
        at = bytes.writeDoubleLE(batch.maxTimestampMs, at);
      }
    }
    return bytes;
  }

  /** Replaces everything by what `serialize` gave. Throws a RangeError on bytes that it did not write. */
  restore(bytes: Buffer): void {
    for (const queue of [...this.queues.keys()]) this.dropQueue(queue);
    if (bytes.readUInt8(0) !== snapshotVersion)
      throw new RangeError('producer snapshot of an unknown version');
    const count = bytes.readUInt32LE(1);
    const wallMs = this.clock.nowMs();
    const nowMs = this.clock.monotonicMs();
    let at = 5;
    for (let read = 0; read < count; read++) {
      const producer = this.add(
        bytes.readDoubleLE(at),
        bytes.readDoubleLE(at + 8),
        bytes.readInt32LE(at + 16),
      );
      producer.nextSequence = bytes.readInt32LE(at + 20);
      // A wall clock that was set back must not make anyone younger than now.
      producer.touchedMs = nowMs - Math.max(0, wallMs - bytes.readDoubleLE(at + 24));
      const batches = bytes.readUInt8(at + 32);
      if (batches > batchesKeptPerProducer) throw new RangeError('producer snapshot with too many batches');
      at += 33;
      for (let batch = 0; batch < batches; batch++) {
        producer.batches.push({
          firstSequence: bytes.readInt32LE(at),
          lastSequence: bytes.readInt32LE(at + 4),
          baseOffset: bytes.readDoubleLE(at + 8),
          lastOffset: bytes.readDoubleLE(at + 16),
          storeTimeMs: bytes.readDoubleLE(at + 24),
          maxTimestampMs: bytes.readDoubleLE(at + 32),
        });
        at += 40;
      }
      this.linkNewest(producer);
    }
    if (at !== bytes.length) throw new RangeError('producer snapshot of the wrong length');
    this.evict(nowMs);
  }

  private raisesEpoch(previous: ProducerFacts | undefined, facts: ProducerFacts): boolean {
    if (previous !== undefined) return facts.producerEpoch > previous.producerEpoch;
    const producer = this.find(facts.countsForQueue, facts.producerId);
    return producer === undefined || facts.producerEpoch > producer.epoch;
  }

  private find(queue: QueueId, producerId: number): KnownProducer | undefined {
    const producer = this.queues.get(queue)?.get(producerId);
    if (producer === undefined) return undefined;
    if (this.clock.monotonicMs() - producer.touchedMs > this.limits.expirationMs) {
      this.forget(producer);
      return undefined;
    }
    return producer;
  }

  private add(queue: QueueId, producerId: number, epoch: number): KnownProducer {
    const producer: KnownProducer = {
      queue,
      producerId,
      epoch,
      nextSequence: 0,
      batches: [],
      touchedMs: 0,
      older: undefined,
      newer: undefined,
    };
    let ofQueue = this.queues.get(queue);
    if (ofQueue === undefined) {
      ofQueue = new Map();
      this.queues.set(queue, ofQueue);
    }
    ofQueue.set(producerId, producer);
    this.known++;
    return producer;
  }

  private evict(nowMs: number): void {
    while (this.oldest !== undefined) {
      const expired = nowMs - this.oldest.touchedMs > this.limits.expirationMs;
      if (!expired && this.known <= this.limits.maxProducers) return;
      this.forget(this.oldest);
    }
  }

  private forget(producer: KnownProducer): void {
    this.unlink(producer);
    const ofQueue = this.queues.get(producer.queue);
    ofQueue?.delete(producer.producerId);
    if (ofQueue?.size === 0) this.queues.delete(producer.queue);
    this.known--;
  }

  private linkNewest(producer: KnownProducer): void {
    producer.older = this.newest;
    producer.newer = undefined;
    if (this.newest === undefined) this.oldest = producer;
    else this.newest.newer = producer;
    this.newest = producer;
  }

  private unlink(producer: KnownProducer): void {
    if (producer.older === undefined) this.oldest = producer.newer;
    else producer.older.newer = producer.newer;
    if (producer.newer === undefined) this.newest = producer.older;
    else producer.newer.older = producer.older;
    producer.older = undefined;
    producer.newer = undefined;
  }
}

/** The verdict on a batch whose producer has an earlier batch in the same, not yet appended group. */
function checkAfter(previous: ProducerFacts, facts: ProducerFacts): SequenceVerdict {
  if (facts.producerEpoch < previous.producerEpoch) return stale;
  if (facts.firstSequence < 0) return next;
  const newEpoch = facts.producerEpoch > previous.producerEpoch || previous.firstSequence < 0;
  return facts.firstSequence === (newEpoch ? 0 : sequenceAfter(previous.lastSequence)) ? next : outOfOrder;
}
