// CRC-32C (Castagnoli) of record batches and CRC-32 of old messages. JavaScript for short input, where a call into native
// code costs more than it saves; the optional native package above that; JavaScript throughout where that is missing.

import * as zlib from 'node:zlib';
import { loadOptionalModule } from './optional-module.ts';

type NativeCrc = (input: Uint8Array, initial?: number) => number;

const polynomial = 0x82f63b78;

/** Slice-by-8: table k advances a byte that stands k bytes before the end of an 8-byte step. */
const tables = makeTables();

function makeTables(): Int32Array {
  const table = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1;
    table[byte] = crc;
  }
  for (let slice = 1; slice < 8; slice++) {
    for (let byte = 0; byte < 256; byte++) {
      const previous = table[(slice - 1) * 256 + byte]!;
      table[slice * 256 + byte] = (previous >>> 8) ^ table[previous & 0xff]!;
    }
  }
  return table;
}

/** Below this many bytes the JavaScript loop is faster than the call (measured on Node 20, x64). */
const nativeFromBytes = 200;

let native: NativeCrc | null | undefined;

function nativeCrc(): NativeCrc | null {
  if (native === undefined) {
    const module = loadOptionalModule('@node-rs/crc32') as { crc32c?: NativeCrc } | undefined;
    native = typeof module?.crc32c === 'function' ? module.crc32c : null;
  }
  return native;
}

/** True when CRC-32C runs in the native package (for diagnostics). */
export function hasNativeCrc32c(): boolean {
  return nativeCrc() !== null;
}

/**
 * CRC-32C of `buffer[start, end)` as an unsigned 32-bit number. `previous` continues a checksum: crc32c(a + b) is
 * crc32c(b, 0, b.length, crc32c(a)).
 */
export function crc32c(buffer: Uint8Array, start = 0, end = buffer.length, previous = 0): number {
  if (end - start >= nativeFromBytes) {
    const run = nativeCrc();
    if (run !== null) return run(buffer.subarray(start, end), previous);
  }
  return crc32cJavaScript(buffer, start, end, previous);
}

/** The same in JavaScript alone: the fallback, and the reference that tests hold the native one against. */
export function crc32cJavaScript(buffer: Uint8Array, start = 0, end = buffer.length, previous = 0): number {
  const table = tables;
  let crc = ~previous;
  let at = start;
  for (const stop = end - 7; at < stop; at += 8) {
    crc ^= buffer[at]! | (buffer[at + 1]! << 8) | (buffer[at + 2]! << 16) | (buffer[at + 3]! << 24);
    crc =
      table[1792 + (crc & 0xff)]! ^
      table[1536 + ((crc >>> 8) & 0xff)]! ^
      table[1280 + ((crc >>> 16) & 0xff)]! ^
      table[1024 + (crc >>> 24)]! ^
      table[768 + buffer[at + 4]!]! ^
      table[512 + buffer[at + 5]!]! ^
      table[256 + buffer[at + 6]!]! ^
      table[buffer[at + 7]!]!;
  }
  for (; at < end; at++) crc = (crc >>> 8) ^ table[(crc ^ buffer[at]!) & 0xff]!;
  return ~crc >>> 0;
}

/** CRC-32 (the zlib one) of `buffer[start, end)`, which messages of magic 0 and 1 carry. */
export function crc32(buffer: Uint8Array, start = 0, end = buffer.length): number {
  return zlib.crc32(buffer.subarray(start, end));
}
