// How much zstd frames (RFC 8878) decode to, told without decoding them: a cheap upper bound from frame and block headers, and the
// exact size from the lengths of literals and matches, for which only the sequences' entropy codes have to be read. Guards
// decoders that have no output limit; it is no decoder and believes no size that a frame claims.

import { RecordError } from './record-error.ts';

const frameMagic = 0xfd2fb528;
/** Sixteen magics from here up mark frames of user data that a decoder skips. */
const skippableMagic = 0x184d2a50;
const greatestBlockBytes = 128 * 1024;
/** Most frames that one batch may hold; each costs a call. */
const greatestFrames = 1000;

const dictionaryIdSizes = [0, 1, 2, 4] as const;

const blockTypes = { raw: 0, runLength: 1, compressed: 2 } as const;

/** What a walk over frames meets. Positions are in the input. */
interface BlockVisitor {
  frame?(start: number): void;
  frameEnd?(end: number): void;
  /** `size`: what raw and run-length blocks decode to; of a compressed block its stored bytes. No block decodes to more than `limitBytes`. */
  block(type: number, size: number, start: number, end: number, limitBytes: number): void;
}

/**
 * True when the frames in `input` decode to at most `limitBytes`.
 * @throws RecordError `invalid` for bytes that cannot be frames
 */
export function zstdFitsLimit(input: Buffer, limitBytes: number): boolean {
  let bound = 0;
  walkBlocks(input, {
    block(type, size, _start, _end, blockLimitBytes) {
      bound += type === blockTypes.compressed ? blockLimitBytes : size;
    },
  });
  return bound <= limitBytes || zstdExactBytes(input, limitBytes) <= limitBytes;
}

/** What the frames decode to, exactly; nothing is counted any more once it is above `limitBytes`. @throws RecordError `invalid` */
export function zstdExactBytes(input: Buffer, limitBytes: number): number {
  let total = 0;
  const tables: SequenceTables = { literalLengths: undefined, offsets: undefined, matchLengths: undefined };
  walkBlocks(input, {
    frame() {
      tables.literalLengths = undefined;
      tables.offsets = undefined;
      tables.matchLengths = undefined;
    },
    block(type, size, start, end, blockLimitBytes) {
      if (total > limitBytes) return;
      total +=
        type === blockTypes.compressed
          ? compressedBlockBytes(input, start, end, blockLimitBytes, tables)
          : size;
    },
  });
  return total;
}

/**
 * The frames one by one, as views, without skippable ones: some decoders take the first for all.
 * @throws RecordError `invalid`
 */
export function splitZstdFrames(input: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  let from = 0;
  walkBlocks(input, {
    frame(start) {
      from = start;
      if (frames.length === greatestFrames) throw invalid(`more than ${greatestFrames} frames`);
    },
    frameEnd(end) {
      frames.push(from === 0 && end === input.length ? input : input.subarray(from, end));
    },
    block() {},
  });
  return frames;
}

function walkBlocks(input: Buffer, visitor: BlockVisitor): void {
  let at = 0;
  do {
    need(input, at, 5);
    const magic = input.readUInt32LE(at);
    if ((magic & 0xfffffff0) >>> 0 === skippableMagic) {
      need(input, at, 8);
      const length = input.readUInt32LE(at + 4);
      need(input, at + 8, length);
      at += 8 + length;
      continue;
    }
    if (magic !== frameMagic) throw invalid(`no frame (magic ${magic.toString(16)})`);
    visitor.frame?.(at);
    const descriptor = input[at + 4]!;
    at += 5;
    if ((descriptor & 0x08) !== 0) throw invalid('the frame sets a reserved bit');
    const singleSegment = (descriptor & 0x20) !== 0;
    const checksumBytes = (descriptor & 0x04) === 0 ? 0 : 4;
    const dictionaryIdBytes = dictionaryIdSizes[descriptor & 0x03]!;
    const contentSizeFlag = descriptor >>> 6;
    const contentSizeBytes = contentSizeFlag === 0 ? (singleSegment ? 1 : 0) : 1 << contentSizeFlag;
    need(input, at, (singleSegment ? 0 : 1) + dictionaryIdBytes + contentSizeBytes);
    let windowBytes: number;
    if (singleSegment) {
      windowBytes = readContentSize(input, at + dictionaryIdBytes, contentSizeBytes);
      at += dictionaryIdBytes + contentSizeBytes;
    } else {
      const window = input[at]!;
      const base = 2 ** (10 + (window >>> 3));
      windowBytes = base + (base / 8) * (window & 0x07);
      at += 1 + dictionaryIdBytes + contentSizeBytes;
    }
    const blockLimitBytes = Math.min(windowBytes, greatestBlockBytes);
    for (let last = false; !last; ) {
      need(input, at, 3);
      const header = input.readUIntLE(at, 3);
      at += 3;
      last = (header & 1) === 1;
      const type = (header >>> 1) & 0x03;
      const size = header >>> 3;
      if (type === 3) throw invalid('a block of the reserved type');
      if (size > blockLimitBytes)
        throw invalid(`a block of ${size} bytes where ${blockLimitBytes} is the limit`);
      const stored = type === blockTypes.runLength ? 1 : size;
      need(input, at, stored);
      visitor.block(type, size, at, at + stored, blockLimitBytes);
      at += stored;
    }
    need(input, at, checksumBytes);
    at += checksumBytes;
    visitor.frameEnd?.(at);
  } while (at < input.length);
}

function readContentSize(input: Buffer, at: number, bytes: number): number {
  if (bytes === 1) return input[at]!;
  if (bytes === 2) return input.readUInt16LE(at) + 256;
  return bytes === 4 ? input.readUInt32LE(at) : Number(input.readBigUInt64LE(at));
}

/** A decoding table of finite state entropy: by state the symbol, how many bits to read next, and what to add to them. */
interface FseTable {
  readonly accuracyLog: number;
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
  readonly baselines: Uint16Array;
}

/** A frame's last tables: a later block may repeat them. */
interface SequenceTables {
  literalLengths: FseTable | undefined;
  offsets: FseTable | undefined;
  matchLengths: FseTable | undefined;
}

interface CodeKind {
  readonly greatestAccuracyLog: number;
  readonly greatestSymbol: number;
  readonly predefined: FseTable;
}

/** Extra bits of literal length codes from 16 on. */
const literalLengthBits = [1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
/** Extra bits and least lengths of match length codes from 32 on; below, the length is the code plus 3. */
const matchLengthBits = [1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
const matchLengthBases = [
  35, 37, 39, 41, 43, 47, 51, 59, 67, 83, 99, 131, 259, 515, 1027, 2051, 4099, 8195, 16387, 32771, 65539,
];

const literalLengthKind: CodeKind = {
  greatestAccuracyLog: 9,
  greatestSymbol: 35,
  predefined: buildTable(
    [
      4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1,
      -1, -1,
    ],
    6,
  ),
};
const offsetKind: CodeKind = {
  greatestAccuracyLog: 8,
  greatestSymbol: 31,
  predefined: buildTable(
    [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1],
    5,
  ),
};
const matchLengthKind: CodeKind = {
  greatestAccuracyLog: 9,
  greatestSymbol: 52,
  predefined: buildTable(
    [
      1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
    ],
    6,
  ),
};

function compressedBlockBytes(
  input: Buffer,
  start: number,
  end: number,
  blockLimitBytes: number,
  tables: SequenceTables,
): number {
  const literals = readLiteralsHeader(input, start, end);
  let total = literals.decodedBytes;
  let at = literals.end;
  need(input, at, 1, end);
  let sequences = input[at++]!;
  if (sequences === 0) return total;
  if (sequences >= 128) {
    need(input, at, sequences === 255 ? 2 : 1, end);
    if (sequences === 255) {
      sequences = input.readUInt16LE(at) + 0x7f00;
      at += 2;
    } else {
      sequences = ((sequences - 128) << 8) + input[at++]!;
    }
  }
  need(input, at, 1, end);
  const modes = input[at++]!;
  if ((modes & 0x03) !== 0) throw invalid('reserved compression mode bits are set');
  const literalLengths = readTable(input, at, end, modes >>> 6, literalLengthKind, tables.literalLengths);
  tables.literalLengths = literalLengths.table;
  const offsets = readTable(input, literalLengths.end, end, (modes >>> 4) & 3, offsetKind, tables.offsets);
  tables.offsets = offsets.table;
  const matchLengths = readTable(
    input,
    offsets.end,
    end,
    (modes >>> 2) & 3,
    matchLengthKind,
    tables.matchLengths,
  );
  tables.matchLengths = matchLengths.table;

  const bits = new BackwardBits(input, matchLengths.end, end);
  let literalState = bits.read(literalLengths.table.accuracyLog);
  let offsetState = bits.read(offsets.table.accuracyLog);
  let matchState = bits.read(matchLengths.table.accuracyLog);
  for (let left = sequences; left > 0; left--) {
    bits.skip(offsets.table.symbols[offsetState]!);
    const matchCode = matchLengths.table.symbols[matchState]!;
    total +=
      matchCode < 32
        ? matchCode + 3
        : matchLengthBases[matchCode - 32]! + bits.read(matchLengthBits[matchCode - 32]!);
    if (total > blockLimitBytes)
      throw invalid(`a block decodes to more than its limit of ${blockLimitBytes} bytes`);
    const literalCode = literalLengths.table.symbols[literalState]!;
    if (literalCode >= 16) bits.skip(literalLengthBits[literalCode - 16]!);
    if (left > 1) {
      literalState = nextState(literalLengths.table, literalState, bits);
      matchState = nextState(matchLengths.table, matchState, bits);
      offsetState = nextState(offsets.table, offsetState, bits);
    }
  }
  return total;
}

function nextState(table: FseTable, state: number, bits: BackwardBits): number {
  return table.baselines[state]! + bits.read(table.bits[state]!);
}

function readLiteralsHeader(
  input: Buffer,
  start: number,
  blockEnd: number,
): { decodedBytes: number; end: number } {
  need(input, start, 1, blockEnd);
  const first = input[start]!;
  const type = first & 0x03;
  const format = (first >>> 2) & 0x03;
  let headerBytes: number;
  let decodedBytes: number;
  let storedBytes: number;
  if (type < 2) {
    headerBytes = (format & 1) === 0 ? 1 : format === 1 ? 2 : 3;
    need(input, start, headerBytes, blockEnd);
    decodedBytes = input.readUIntLE(start, headerBytes) >>> (headerBytes === 1 ? 3 : 4);
    storedBytes = type === 0 ? decodedBytes : 1;
  } else {
    headerBytes = format < 2 ? 3 : format + 2;
    need(input, start, headerBytes, blockEnd);
    const sizeBits = format < 2 ? 10 : format === 2 ? 14 : 18;
    const sizes = Math.floor(input.readUIntLE(start, headerBytes) / 16);
    decodedBytes = sizes % 2 ** sizeBits;
    storedBytes = Math.floor(sizes / 2 ** sizeBits);
  }
  const end = start + headerBytes + storedBytes;
  if (end > blockEnd) throw invalid('literals end after their block');
  if (decodedBytes > greatestBlockBytes) throw invalid(`literals of ${decodedBytes} bytes`);
  return { decodedBytes, end };
}

function readTable(
  input: Buffer,
  at: number,
  end: number,
  mode: number,
  kind: CodeKind,
  previous: FseTable | undefined,
): { table: FseTable; end: number } {
  if (mode === 0) return { table: kind.predefined, end: at };
  if (mode === 1) {
    need(input, at, 1, end);
    const symbol = input[at]!;
    if (symbol > kind.greatestSymbol) throw invalid(`code ${symbol} does not exist`);
    const table = {
      accuracyLog: 0,
      symbols: Uint8Array.of(symbol),
      bits: Uint8Array.of(0),
      baselines: Uint16Array.of(0),
    };
    return { table, end: at + 1 };
  }
  if (mode === 3) {
    if (previous === undefined) throw invalid('a first block repeats a table');
    return { table: previous, end: at };
  }
  return readDistribution(input, at, end, kind);
}

/** Reads a table's description: probabilities with a variable number of bits each, least first. */
function readDistribution(
  input: Buffer,
  start: number,
  end: number,
  kind: CodeKind,
): { table: FseTable; end: number } {
  let bitAt = start * 8;
  const read = (count: number): number => {
    const value = peek(count);
    bitAt += count;
    return value;
  };
  const peek = (count: number): number => {
    let value = 0;
    for (let bit = 0; bit < count; bit++) {
      const position = bitAt + bit;
      const byte = position >>> 3 < end ? input[position >>> 3]! : 0;
      value |= ((byte >>> (position & 7)) & 1) << bit;
    }
    return value;
  };
  const accuracyLog = read(4) + 5;
  if (accuracyLog > kind.greatestAccuracyLog) throw invalid(`accuracy log ${accuracyLog}`);
  let remaining = (1 << accuracyLog) + 1;
  const probabilities: number[] = [];
  while (remaining > 1) {
    if (probabilities.length > kind.greatestSymbol) throw invalid('more codes than exist');
    const width = 32 - Math.clz32(remaining);
    const least = (1 << (width - 1)) - 1;
    const spare = (1 << width) - 1 - remaining;
    let value = peek(width);
    if ((value & least) < spare) {
      value &= least;
      bitAt += width - 1;
    } else {
      if (value > least) value -= spare;
      bitAt += width;
    }
    const probability = value - 1;
    remaining -= Math.abs(probability);
    probabilities.push(probability);
    if (probability === 0) {
      let repeat: number;
      do {
        repeat = read(2);
        for (let zero = 0; zero < repeat; zero++) probabilities.push(0);
        if (probabilities.length > kind.greatestSymbol + 1) throw invalid('more codes than exist');
      } while (repeat === 3);
    }
  }
  const tableEnd = (bitAt + 7) >>> 3;
  if (remaining !== 1 || tableEnd > end) throw invalid('a table is not what its accuracy promises');
  return { table: buildTable(probabilities, accuracyLog), end: tableEnd };
}

function buildTable(probabilities: readonly number[], accuracyLog: number): FseTable {
  const size = 1 << accuracyLog;
  const symbols = new Uint8Array(size);
  const bits = new Uint8Array(size);
  const baselines = new Uint16Array(size);
  const next = new Uint16Array(probabilities.length);
  let high = size;
  for (const [symbol, probability] of probabilities.entries()) {
    if (probability === -1) {
      high -= 1;
      symbols[high] = symbol;
      next[symbol] = 1;
    } else {
      next[symbol] = probability;
    }
  }
  const step = (size >>> 1) + (size >>> 3) + 3;
  let position = 0;
  for (const [symbol, probability] of probabilities.entries()) {
    for (let times = 0; times < probability; times++) {
      symbols[position] = symbol;
      do {
        position = (position + step) & (size - 1);
      } while (position >= high);
    }
  }
  for (let state = 0; state < size; state++) {
    const symbol = symbols[state]!;
    const value = next[symbol]!;
    next[symbol] = value + 1;
    const count = accuracyLog - (31 - Math.clz32(value));
    bits[state] = count;
    baselines[state] = (value << count) - size;
  }
  return { accuracyLog, symbols, bits, baselines };
}

/** Bits from the end of a run of bytes towards its start; the last byte's highest set bit marks the end. */
class BackwardBits {
  readonly #input: Buffer;
  readonly #start: number;
  #left: number;

  constructor(input: Buffer, start: number, end: number) {
    const last = end > start ? input[end - 1]! : 0;
    if (last === 0) throw invalid('a bit stream without its end mark');
    this.#input = input;
    this.#start = start;
    this.#left = (end - start) * 8 - (Math.clz32(last) - 24) - 1;
  }

  skip(count: number): void {
    this.#left -= count;
    if (this.#left < 0) throw invalid('a bit stream ends early');
  }

  /** At most 16 bits. */
  read(count: number): number {
    this.skip(count);
    const at = this.#start + (this.#left >>> 3);
    const input = this.#input;
    const word = input[at]! | ((input[at + 1] ?? 0) << 8) | ((input[at + 2] ?? 0) << 16);
    return (word >>> (this.#left & 7)) & ((1 << count) - 1);
  }
}

function need(input: Buffer, at: number, bytes: number, end = input.length): void {
  if (end - at < bytes) throw invalid('the bytes end early');
}

function invalid(what: string): RecordError {
  return new RecordError('invalid', `zstd data is corrupt: ${what}`);
}
