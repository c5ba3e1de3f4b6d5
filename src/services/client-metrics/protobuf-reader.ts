/**
 * Reads the fields of one Protocol Buffers message. Every length is checked against what is left; unknown fields are skipped. Knows no
 * message.
 */

export class ProtobufError extends Error {
  override readonly name = 'ProtobufError';
}

const wireTypes = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** Calls back once a field. What the callback does not read is skipped. */
export class ProtobufReader {
  readonly #bytes: Buffer;
  readonly #end: number;
  #at: number;
  #wireType = 0;
  #isRead = true;

  constructor(bytes: Buffer, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  /** The number of the next field, or undefined at the end. Skips the value of the one before where nobody read it. */
  next(): number | undefined {
    if (!this.#isRead) this.#skip();
    if (this.#at >= this.#end) return undefined;
    const tag = this.#varint();
    const field = Number(tag >> 3n);
    this.#wireType = Number(tag & 7n);
    this.#isRead = false;
    if (field === 0 || field > 536_870_911) throw new ProtobufError(`there is no field ${field}`);
    return field;
  }

  /** Of an enum, a bool or a small count. */
  number(): number {
    this.#expect(wireTypes.varint);
    return Number(BigInt.asIntN(64, this.#varint()));
  }

  int64(): bigint {
    this.#expect(wireTypes.varint);
    return BigInt.asIntN(64, this.#varint());
  }

  double(): number {
    this.#expect(wireTypes.fixed64);
    return this.#bytes.readDoubleLE(this.#take(8));
  }

  fixed64(): bigint {
    this.#expect(wireTypes.fixed64);
    return this.#bytes.readBigUInt64LE(this.#take(8));
  }

  signedFixed64(): bigint {
    this.#expect(wireTypes.fixed64);
    return this.#bytes.readBigInt64LE(this.#take(8));
  }

  text(): string {
    const { start, length } = this.#block();
    return this.#bytes.toString('utf8', start, start + length);
  }

  bytes(): Buffer {
    const { start, length } = this.#block();
    return this.#bytes.subarray(start, start + length);
  }

  /** A reader of the message in this field. */
  message(): ProtobufReader {
    const { start, length } = this.#block();
    return new ProtobufReader(this.#bytes, start, start + length);
  }

  /** Repeated fixed64 or double, packed or one a field. */
  eights<Value>(read: (bytes: Buffer, at: number) => Value, into: Value[]): void {
    if (this.#wireType === wireTypes.fixed64) {
      this.#isRead = true;
      into.push(read(this.#bytes, this.#take(8)));
      return;
    }
    const { start, length } = this.#block();
    if (length % 8 !== 0) throw new ProtobufError(`${length} bytes are no list of eights`);
    for (let at = start; at < start + length; at += 8) into.push(read(this.#bytes, at));
  }

  #expect(wireType: number): void {
    if (this.#wireType !== wireType) {
      throw new ProtobufError(`a field of wire type ${this.#wireType} where ${wireType} belongs`);
    }
    this.#isRead = true;
  }

  #block(): { start: number; length: number } {
    this.#expect(wireTypes.bytes);
    const length = this.#length();
    return { start: this.#take(length), length };
  }

  #skip(): void {
    this.#isRead = true;
    switch (this.#wireType) {
      case wireTypes.varint:
        this.#varint();
        return;
      case wireTypes.fixed64:
        this.#take(8);
        return;
      case wireTypes.bytes:
        this.#take(this.#length());
        return;
      case wireTypes.fixed32:
        this.#take(4);
        return;
      default:
        throw new ProtobufError(`there is no wire type ${this.#wireType}`);
    }
  }

  #length(): number {
    const length = this.#varint();
    if (length > BigInt(this.#end - this.#at)) throw new ProtobufError('a field is longer than its message');
    return Number(length);
  }

  #take(length: number): number {
    const start = this.#at;
    if (length > this.#end - start) throw new ProtobufError('a field is longer than its message');
    this.#at = start + length;
    return start;
  }

  #varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#take(1)]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new ProtobufError('a number has more than ten bytes');
  }
}
