// UTF-8 with fast paths for what a broker sees most: short ASCII names, and the same ones again and again.

/** Above this many characters the runtime's own routines are faster than a loop. */
const SHORT_CHARS = 64;

/** Strings kept for reuse: at most this many, each of at most SHORT_CHARS bytes. */
const CACHE_SLOTS = 2048;
const cache: string[] = new Array(CACHE_SLOTS).fill('');

/** Bytes that the string takes in UTF-8. */
export function utf8Size(text: string): number {
  const length = text.length;
  if (length > SHORT_CHARS) return Buffer.byteLength(text, 'utf8');
  for (let i = 0; i < length; i += 1) {
    if (text.charCodeAt(i) > 0x7f) return Buffer.byteLength(text, 'utf8');
  }
  return length;
}

/** Writes the string at `offset`, which must have `size` bytes free (from utf8Size). */
export function writeUtf8(buffer: Buffer, text: string, offset: number, size: number): void {
  const length = text.length;
  if (length > SHORT_CHARS || size !== length) {
    buffer.write(text, offset, size, 'utf8');
    return;
  }
  for (let i = 0; i < length; i += 1) buffer[offset + i] = text.charCodeAt(i);
}

/** Reads `size` bytes; bytes that are no UTF-8 become U+FFFD, as they do in Java. */
export function readUtf8(buffer: Buffer, offset: number, size: number): string {
  if (size === 0) return '';
  if (size > SHORT_CHARS) return buffer.toString('utf8', offset, offset + size);
  let hash = size;
  const end = offset + size;
  for (let i = offset; i < end; i += 1) {
    const byte = buffer[i]!;
    if (byte > 0x7f) return buffer.toString('utf8', offset, end);
    hash = (Math.imul(hash, 31) + byte) | 0;
  }
  const slot = (hash ^ (hash >>> 15)) & (CACHE_SLOTS - 1);
  const known = cache[slot]!;
  if (known.length === size) {
    let i = 0;
    while (i < size && known.charCodeAt(i) === buffer[offset + i]) i += 1;
    if (i === size) return known;
  }
  const text = buffer.toString('latin1', offset, end);
  cache[slot] = text;
  return text;
}
