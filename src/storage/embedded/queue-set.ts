/**
 * A set of queue ids as ascending ranges, with a text form that fits the manifest (`5-1004,1010`): ids are given out one after
 * the other, so the queues that are treated alike are mostly neighbours. Never changed once made.
 */
import type { QueueId } from '../engine.ts';

export class QueueSet {
  static readonly empty = new QueueSet([]);
  /** First and last id of each range, ascending; no two ranges touch. */
  private readonly bounds: readonly number[];
  readonly text: string;

  private constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    const ranges: string[] = [];
    for (let at = 0; at < bounds.length; at += 2) {
      const [first, last] = [bounds[at]!, bounds[at + 1]!];
      ranges.push(first === last ? `${first}` : `${first}-${last}`);
    }
    this.text = ranges.join(',');
  }

  /** Throws a RangeError where the text is none of a set's. */
  static parse(text: string | undefined): QueueSet {
    if (text === undefined || text === '') return QueueSet.empty;
    const bounds: number[] = [];
    for (const range of text.split(',')) {
      const match = /^(\d+)(?:-(\d+))?$/.exec(range);
      const first = Number(match?.[1]);
      const last = Number(match?.[2] ?? match?.[1]);
      const isSound = match !== null && first <= last && first > (bounds.at(-1) ?? -1);
      if (!isSound) throw new RangeError(`'${range}' is no range of queues`);
      bounds.push(first, last);
    }
    return new QueueSet(bounds);
  }

  static of(queues: Iterable<QueueId>): QueueSet {
    return QueueSet.empty.plus(queues);
  }

  get isEmpty(): boolean {
    return this.bounds.length === 0;
  }

  has(queue: QueueId): boolean {
    const { bounds } = this;
    let low = 0;
    let high = bounds.length / 2 - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (queue < bounds[middle * 2]!) high = middle - 1;
      else if (queue > bounds[middle * 2 + 1]!) low = middle + 1;
      else return true;
    }
    return false;
  }

  plus(queues: Iterable<QueueId>): QueueSet {
    const ranges: [number, number][] = [...queues].map((queue) => [queue, queue]);
    return this.withRanges(ranges);
  }

  union(other: QueueSet): QueueSet {
    if (other.isEmpty) return this;
    if (this.isEmpty) return other;
    return this.withRanges(other.ranges());
  }

  private ranges(): [number, number][] {
    const ranges: [number, number][] = [];
    for (let at = 0; at < this.bounds.length; at += 2) ranges.push([this.bounds[at]!, this.bounds[at + 1]!]);
    return ranges;
  }

  private withRanges(added: [number, number][]): QueueSet {
    if (added.length === 0) return this;
    const all = [...this.ranges(), ...added].sort((a, b) => a[0] - b[0]);
    const bounds: number[] = [];
    for (const [first, last] of all) {
      const end = bounds.length - 1;
      if (end >= 0 && first <= bounds[end]! + 1) bounds[end] = Math.max(bounds[end]!, last);
      else bounds.push(first, last);
    }
    return new QueueSet(bounds);
  }
}
