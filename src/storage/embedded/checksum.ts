/**
 * The checksum of everything that the engine itself writes, given from above so that there is one CRC-32C in the program.
 * `previous` continues a checksum. Answers an unsigned 32-bit number.
 */
export type Checksum = (bytes: Uint8Array, start: number, end: number, previous?: number) => number;
