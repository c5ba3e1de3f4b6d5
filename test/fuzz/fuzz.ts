// Feeds hostile bytes to the decoders of messages, headers and record sets. What must hold: nothing but the declared errors comes
// out, nothing takes long, and nothing allocates more than its bytes justify; what does decode encodes to what decodes the same.
// Every input has a random source of its own, so one input can be run again alone.
import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { gunzipSync } from 'node:zlib';
import { codecs } from '../../protocol/generated/messages.ts';
import { decodeRequestHeader } from '../../protocol/headers.ts';
import { encodeToBuffer, type MessageCodec } from '../../protocol/message-codec.ts';
import { RecordError } from '../../protocol/records/record-error.ts';
import { decodeRecordSet } from '../../protocol/records/record-set.ts';
import { ByteReader } from '../../protocol/wire/byte-reader.ts';
import { MalformedMessageError } from '../../protocol/wire/errors.ts';
import { breakLength, fillArray, type LengthPlace, scramble, TracingReader } from './mutate.ts';
import { Random } from './random.ts';
import { breakField, goodRecordSets, repairFirst } from './record-sets.ts';

/** An input may take this long; the slowest are compressed record sets. */
const MAX_INPUT_MS = 1000;
/** What record sets may decompress to here. */
const DECOMPRESSED_LIMIT_BYTES = 256 * 1024;
/** Heap that a decoded message may keep: so much for each byte of it (the smallest element is a byte, and becomes an object). */
const MAX_HEAP_BYTES_PER_BYTE = 400;
const HEAP_SLACK_BYTES = 512 * 1024;
/** One input in so many has its heap measured, and every one with more elements than MEASURE_FROM_ELEMENTS in one of 20. */
const MEASURE_EVERY = 20_000;
const MEASURE_FROM_ELEMENTS = 20_000;

interface Seed {
  readonly codec: MessageCodec<unknown, unknown>;
  readonly version: number;
  readonly bytes: Buffer;
  places: readonly LengthPlace[] | undefined;
}

/** Record sets to start from are no larger: small ones break in more interesting places. */
const MAX_SEED_BYTES = 8192;

export interface FuzzOptions {
  readonly inputs: number;
  readonly seed: number;
  /** Stops earlier once so many seconds have gone by. */
  readonly seconds?: number | undefined;
  /** Runs this one input only. */
  readonly only?: number | undefined;
  /** Called before every input with its number. */
  readonly onInput?: (index: number) => void;
}

export interface FuzzResult {
  readonly passed: number;
  readonly failures: readonly string[];
  /** How many inputs of each kind there were, and how many of them decoded. */
  readonly kinds: ReadonlyMap<string, { inputs: number; decoded: number }>;
}

function readVectors<T>(name: string): T[] {
  const text = gunzipSync(readFileSync(`test/vectors/${name}`)).toString('utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as T);
}

function loadSeeds(): Seed[] {
  const seeds: Seed[] = [];
  for (const name of ['messages.jsonl.gz', 'messages-before-4.0.jsonl.gz']) {
    for (const vector of readVectors<{ message: string; version: number; hex: string }>(name)) {
      const codec = codecs.get(vector.message);
      if (codec === undefined) throw new Error(`no message is called ${vector.message}`);
      seeds.push({
        codec,
        version: vector.version,
        bytes: Buffer.from(vector.hex, 'hex'),
        places: undefined,
      });
    }
  }
  return seeds;
}

function placesOf(seed: Seed): readonly LengthPlace[] {
  if (seed.places === undefined) {
    const reader = new TracingReader(seed.bytes);
    seed.codec.decode(reader, seed.version);
    seed.places = reader.places;
  }
  return seed.places;
}

/** A fresh garbage collection; what is left afterwards is what is really held. */
function collector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}

function heldBytes(): number {
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

export function fuzz(options: FuzzOptions): FuzzResult {
  const seeds = loadSeeds();
  const { sets, bombs } = goodRecordSets();
  for (const vector of readVectors<{ hex: string }>('records.jsonl.gz')) {
    if (vector.hex.length <= 2 * MAX_SEED_BYTES) sets.push(Buffer.from(vector.hex, 'hex'));
  }
  const collect = collector();
  const kinds = new Map<string, { inputs: number; decoded: number }>();
  const failures: string[] = [];
  const started = performance.now();
  // Truncations are not left to chance: the run goes through every place of every message, as far as it gets.
  const cuts: { readonly seed: Seed; readonly end: number }[] = [];
  const cutAt = (index: number): { readonly seed: Seed; readonly end: number } => {
    if (cuts.length === 0) {
      for (const seed of seeds) for (let end = 0; end < seed.bytes.length; end += 1) cuts.push({ seed, end });
    }
    // A step that shares no factor with the count meets every place once.
    return cuts[(index * 7919 + options.seed) % cuts.length]!;
  };

  const count = (kind: string, decoded: boolean): void => {
    const entry = kinds.get(kind) ?? { inputs: 0, decoded: 0 };
    entry.inputs += 1;
    if (decoded) entry.decoded += 1;
    kinds.set(kind, entry);
  };

  let passed = 0;
  const first = options.only ?? 0;
  const end = options.only === undefined ? options.inputs : options.only + 1;
  for (let index = first; index < end; index += 1) {
    if ((index & 0x3ff) === 0 && options.seconds !== undefined) {
      if (performance.now() - started > options.seconds * 1000) break;
    }
    options.onInput?.(index);
    const random = new Random(options.seed, index);
    const before = performance.now();
    let problem: string | undefined;
    const isRecords = index % 5 === 4;
    const input = isRecords
      ? recordInput(random, index, sets, bombs)
      : messageInput(random, index, seeds, cutAt);
    let decoded = false;
    try {
      if ('set' in input) decoded = tryRecordSet(input.set);
      else decoded = tryMessage(input, index, collect);
    } catch (error) {
      problem = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      if (error instanceof Error && !(error instanceof Finding)) problem += `\n${error.stack}`;
    }
    const tookMs = performance.now() - before;
    if (tookMs > MAX_INPUT_MS) problem ??= `took ${Math.round(tookMs)} ms`;
    count(input.kind, decoded);
    if (problem === undefined) passed += 1;
    else {
      const bytes = 'set' in input ? input.set : input.bytes;
      const what =
        'set' in input ? 'record set' : `${input.codec?.name ?? 'RequestHeader'} v${input.version}`;
      failures.push(
        `input ${index} of seed ${options.seed} (${input.kind}, ${what}): ${problem}\n  ${bytes.length} bytes: ${bytes.subarray(0, 300).toString('hex')}`,
      );
      if (failures.length >= 50) break;
    }
  }
  return { passed, failures, kinds };
}

/** Something that must not be, as opposed to an error that was thrown. */
class Finding extends Error {
  override readonly name = 'Finding';
}

interface MessageInput {
  readonly kind: string;
  /** Absent: a request header. */
  readonly codec: MessageCodec<unknown, unknown> | undefined;
  readonly version: number;
  readonly bytes: Buffer;
}

interface RecordInput {
  readonly kind: string;
  readonly set: Buffer;
}

function messageInput(
  random: Random,
  index: number,
  seeds: readonly Seed[],
  cutAt: (index: number) => { readonly seed: Seed; readonly end: number },
): MessageInput {
  const choice = random.below(100);
  if (choice < 25) {
    const { seed, end } = cutAt(index);
    return {
      kind: 'truncated',
      codec: seed.codec,
      version: seed.version,
      bytes: seed.bytes.subarray(0, end),
    };
  }
  const seed = random.pick(seeds);
  const { codec, version, bytes } = seed;
  const places = placesOf(seed);
  if (choice < 55 && places.length > 0) {
    let broken = breakLength(random, bytes, places);
    if (random.oneIn(4)) broken = scramble(random, broken);
    return { kind: 'length', codec, version, bytes: broken };
  }
  if (choice < 62 && places.length > 0) {
    return { kind: 'filled array', codec, version, bytes: fillArray(random, bytes, places) };
  }
  if (choice < 85) return { kind: 'scrambled', codec, version, bytes: scramble(random, bytes) };
  if (choice < 93) {
    // Good bytes of another version or message.
    const other = random.oneIn(2) ? codec : random.pick(seeds).codec;
    const span = other.maxVersion - other.minVersion + 1;
    return { kind: 'other version', codec: other, version: other.minVersion + random.below(span), bytes };
  }
  if (choice < 96) {
    return { kind: 'header', codec: undefined, version: 2, bytes: random.bytes(random.below(40)) };
  }
  const size = random.oneIn(20) ? 5000 : random.below(200);
  return { kind: 'random', codec, version, bytes: random.bytes(size) };
}

function recordInput(
  random: Random,
  index: number,
  sets: readonly Buffer[],
  bombs: readonly Buffer[],
): RecordInput {
  const set = random.pick(sets);
  const choice = random.below(100);
  if (choice < 20)
    return { kind: 'records truncated', set: set.subarray(0, Math.floor(index / 5) % (set.length + 1)) };
  if (choice < 21 && bombs.length > 0) return { kind: 'records bomb', set: random.pick(bombs) };
  const broken = random.oneIn(2) ? breakField(random, set) : scramble(random, set);
  if (choice < 40) return { kind: 'records broken', set: broken };
  repairFirst(broken);
  return { kind: 'records repaired', set: broken };
}

/** Decodes; true where the bytes are a record set. Throws what must not be thrown. */
function tryRecordSet(set: Buffer): boolean {
  try {
    const decoded = decodeRecordSet(set, { limitBytes: DECOMPRESSED_LIMIT_BYTES });
    const count = decoded.batches.reduce((sum, batch) => sum + batch.records.length, 0);
    // A record is at least a byte of what was decompressed.
    if (count > set.length + decoded.batches.length * DECOMPRESSED_LIMIT_BYTES) {
      throw new Finding(`${count} records out of ${set.length} bytes`);
    }
    return true;
  } catch (error) {
    if (error instanceof RecordError) return false;
    throw error;
  }
}

function tryMessage(input: MessageInput, index: number, collect: () => void): boolean {
  const { codec, version, bytes } = input;
  const reader = index % 2 === 0 ? new ByteReader(bytes) : amidOthers(bytes);
  if (codec === undefined) {
    try {
      decodeRequestHeader(reader, (apiKey) => apiKey % 2 === 0);
      return true;
    } catch (error) {
      if (error instanceof MalformedMessageError) return false;
      throw error;
    }
  }
  let decoded: unknown;
  try {
    decoded = codec.decode(reader, version);
  } catch (error) {
    if (!(error instanceof MalformedMessageError)) throw error;
    checkError(error, codec, version);
    checkElements(reader, bytes);
    return false;
  }
  checkElements(reader, bytes);
  checkRoundTrip(codec, version, decoded);
  const many = reader.elementsRead > MEASURE_FROM_ELEMENTS && index % 20 === 0;
  if (many || index % MEASURE_EVERY === 0) checkHeap(codec, version, bytes, collect);
  return true;
}

function checkError(
  error: MalformedMessageError,
  codec: MessageCodec<unknown, unknown>,
  version: number,
): void {
  if (error.messageName !== codec.name || error.version !== version || error.field === '') {
    throw new Finding(`an error says ${error.messageName} v${error.version} field '${error.field}'`);
  }
}

/** A reader of the same bytes in the middle of a buffer: what is read beyond the end is there, and must not be touched. */
function amidOthers(bytes: Buffer): ByteReader {
  const around = Buffer.alloc(16, 1);
  return new ByteReader(Buffer.concat([around, bytes, around]), around.length, around.length + bytes.length);
}

function checkElements(reader: ByteReader, bytes: Buffer): void {
  if (reader.remaining < 0) throw new Finding(`${-reader.remaining} bytes were read beyond the end`);
  if (reader.elementsRead > bytes.length) {
    throw new Finding(`${reader.elementsRead} elements out of ${bytes.length} bytes`);
  }
}

/** What decoded must encode, in just the size it says, to bytes that decode to the same. */
function checkRoundTrip(codec: MessageCodec<unknown, unknown>, version: number, decoded: unknown): void {
  const encoded = encodeToBuffer(codec, decoded, version);
  if (encoded.length !== codec.sizeOf(decoded, version)) throw new Finding('sizeOf is not the size');
  const again = new ByteReader(encoded);
  const value = codec.decode(again, version);
  if (again.remaining !== 0) throw new Finding(`${again.remaining} bytes are left over when decoded again`);
  if (!isDeepStrictEqual(value, decoded)) throw new Finding('decoded again it is another value');
}

function checkHeap(
  codec: MessageCodec<unknown, unknown>,
  version: number,
  bytes: Buffer,
  collect: () => void,
): void {
  collect();
  const before = heldBytes();
  const kept = codec.decode(new ByteReader(bytes), version);
  collect();
  const grown = heldBytes() - before;
  const allowed = HEAP_SLACK_BYTES + bytes.length * MAX_HEAP_BYTES_PER_BYTE;
  if (kept !== undefined && grown > allowed) {
    throw new Finding(`${bytes.length} bytes keep ${grown} bytes of heap, more than ${allowed}`);
  }
}
