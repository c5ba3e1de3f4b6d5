/**
 * The newest rows of the ordered index, in memory, each change with the sequence of its group so that the newest groups can be
 * taken back when they could not be written. Null is a deleted row (it hides older ones in run files).
 */
import { assert } from '../../../util/assert.ts';
import { SortedMap, type SortedRange } from '../../sorted-map.ts';

interface RowVersion {
  readonly value: string | null;
  readonly sequence: number;
  /** What to go back to; undefined when it was not in this table, or when there is no way back any more. */
  previous: RowVersion | undefined;
}

interface UnsettledChange {
  readonly key: string;
  readonly version: RowVersion;
}

/** What a row costs beside its bytes, roughly. */
const rowOverheadBytes = 160;

export class Memtable {
  private readonly rows = new SortedMap<RowVersion>();
  private unsettled: UnsettledChange[] = [];
  private settledCount = 0;
  private bytes = 0;

  /** Rows, deleted ones too. */
  get size(): number {
    return this.rows.size;
  }

  /** Roughly what the rows cost in memory. */
  get sizeBytes(): number {
    return this.bytes;
  }

  get unsettledChanges(): number {
    return this.unsettled.length - this.settledCount;
  }

  /** Undefined when the key is not in this table, null when it is deleted. */
  get(key: string): string | null | undefined {
    return this.rows.get(key)?.value;
  }

  /** Calls `visit` for each row of the range in order until it answers false. */
  visit(range: SortedRange, visit: (key: string, value: string | null) => boolean): void {
    this.rows.visit(range, (key, version) => visit(key, version.value));
  }

  /** Sequences never go back. A change stays unsettled until `settle` is called for its sequence or a later one. */
  put(key: string, value: string | null, sequence: number): void {
    const version: RowVersion = { value, sequence, previous: undefined };
    version.previous = this.rows.set(key, version);
    this.bytes += costOf(key, version);
    this.unsettled.push({ key, version });
  }

  /** There is no way back from the changes up to this sequence. */
  settle(sequence: number): void {
    let count = this.settledCount;
    for (; count < this.unsettled.length; count++) {
      const { key, version } = this.unsettled[count]!;
      if (version.sequence > sequence) break;
      if (version.previous !== undefined) this.bytes -= costOf(key, version.previous);
      version.previous = undefined;
    }
    this.settledCount = count;
    if (count === this.unsettled.length) {
      this.unsettled = [];
      this.settledCount = 0;
    } else if (count > 1000 && count * 2 > this.unsettled.length) {
      this.unsettled = this.unsettled.slice(count);
      this.settledCount = 0;
    }
  }

  /** Takes back every change of this sequence and later ones; answers them oldest first. */
  takeBack(
    fromSequence: number,
  ): { readonly key: string; readonly value: string | null; readonly sequence: number }[] {
    const taken: { key: string; value: string | null; sequence: number }[] = [];
    while (this.unsettledChanges > 0) {
      const { key, version } = this.unsettled.at(-1)!;
      if (version.sequence < fromSequence) break;
      this.unsettled.pop();
      assert(this.rows.get(key) === version, 'changes are taken back newest first');
      if (version.previous === undefined) this.rows.delete(key);
      else this.rows.set(key, version.previous);
      this.bytes -= costOf(key, version);
      taken.push({ key, value: version.value, sequence: version.sequence });
    }
    return taken.reverse();
  }
}

function costOf(key: string, version: RowVersion): number {
  return rowOverheadBytes + key.length + (version.value?.length ?? 0);
}
