/** Index rows picked out for one read: columns, filled and cleared again without an object a row. */
export class EntryRows {
  locations = new Float64Array(64);
  baseOffsets = new Float64Array(64);
  maxTimestampsMs = new Float64Array(64);
  sizesBytes = new Float64Array(64);
  counts = new Float64Array(64);
  length = 0;
  /** Payload bytes of all rows. */
  totalBytes = 0;

  clear(): void {
    this.length = 0;
    this.totalBytes = 0;
  }

  add(location: number, baseOffset: number, maxTimestampMs: number, sizeBytes: number, count: number): void {
    const at = this.length;
    if (at === this.locations.length) this.grow();
    this.locations[at] = location;
    this.baseOffsets[at] = baseOffset;
    this.maxTimestampsMs[at] = maxTimestampMs;
    this.sizesBytes[at] = sizeBytes;
    this.counts[at] = count;
    this.length = at + 1;
    this.totalBytes += sizeBytes;
  }

  /** Rows of one's own, to keep across waits. */
  copy(): EntryRows {
    const rows = new EntryRows();
    rows.locations = this.locations.slice();
    rows.baseOffsets = this.baseOffsets.slice();
    rows.maxTimestampsMs = this.maxTimestampsMs.slice();
    rows.sizesBytes = this.sizesBytes.slice();
    rows.counts = this.counts.slice();
    rows.length = this.length;
    rows.totalBytes = this.totalBytes;
    return rows;
  }

  /** The offset after row `at`. */
  endOffset(at: number): number {
    return this.baseOffsets[at]! + this.counts[at]!;
  }

  /** Forgets the rows from `length` on. */
  cut(length: number): void {
    while (this.length > length) this.totalBytes -= this.sizesBytes[--this.length]!;
  }

  private grow(): void {
    this.locations = larger(this.locations);
    this.baseOffsets = larger(this.baseOffsets);
    this.maxTimestampsMs = larger(this.maxTimestampsMs);
    this.sizesBytes = larger(this.sizesBytes);
    this.counts = larger(this.counts);
  }
}

function larger(column: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const grown = new Float64Array(column.length * 2);
  grown.set(column);
  return grown;
}

/** What a read asks of the index, and what is left to take. */
export interface RowLimits {
  /** Entries that would end after this offset are left out. */
  readonly untilOffset: number;
  readonly maxBytes: number;
  readonly maxRows: number;
  /** The first entry is taken even where it is larger than maxBytes. */
  readonly atLeastOne: boolean;
}

/** True when the limits let the rows take one more entry of that size. */
export function fits(rows: EntryRows, limits: RowLimits, sizeBytes: number): boolean {
  if (rows.length >= limits.maxRows) return false;
  return rows.totalBytes + sizeBytes <= limits.maxBytes || (limits.atLeastOne && rows.length === 0);
}
