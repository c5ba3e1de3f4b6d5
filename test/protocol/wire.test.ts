import { describe, expect, it } from 'vitest';
import { ByteReader, MAX_ELEMENTS_PER_MESSAGE } from '../../protocol/wire/byte-reader.ts';
import { ByteWriter, compactStringSize, stringSize } from '../../protocol/wire/byte-writer.ts';
import { MalformedMessageError, UnencodableMessageError } from '../../protocol/wire/errors.ts';
import {
  canonicalInt64,
  type Int64,
  int64FromText,
  isInt64,
  MAX_INT64,
  MIN_INT64,
  safeInteger,
  safeIntegerOrUndefined,
} from '../../protocol/wire/int64.ts';
import { isUuid, uuidFromBytes, uuidToBytes, ZERO_UUID } from '../../protocol/wire/uuid.ts';
import { sizeOfUnsignedVarint, sizeOfVarint, sizeOfVarlong } from '../../protocol/wire/varint.ts';

function write(sizeBytes: number, run: (writer: ByteWriter) => void): Buffer {
  const writer = new ByteWriter(sizeBytes);
  run(writer);
  return Buffer.concat(writer.finish());
}

const reader = (hex: string): ByteReader => new ByteReader(Buffer.from(hex, 'hex'));

describe('unsigned varints', () => {
  const cases: [number, string][] = [
    [0, '00'],
    [1, '01'],
    [127, '7f'],
    [128, '8001'],
    [300, 'ac02'],
    [16383, 'ff7f'],
    [16384, '808001'],
    [2097151, 'ffff7f'],
    [2097152, '80808001'],
    [268435455, 'ffffff7f'],
    [268435456, '8080808001'],
    [0x7fffffff, 'ffffffff07'],
    [0xffffffff, 'ffffffff0f'],
  ];
  it.each(cases)('%i is %s', (value, hex) => {
    expect(sizeOfUnsignedVarint(value)).toBe(hex.length / 2);
    expect(write(hex.length / 2, (writer) => writer.unsignedVarint(value)).toString('hex')).toBe(hex);
    expect(reader(hex).unsignedVarint('x')).toBe(value);
  });

  it('refuses more than five bytes and an end in the middle', () => {
    expect(() => reader('ffffffffff01').unsignedVarint('length')).toThrow(/field length: a varint is longer/);
    expect(() => reader('ffff').unsignedVarint('length')).toThrow(MalformedMessageError);
    expect(() => reader('').unsignedVarint('length')).toThrow(MalformedMessageError);
  });

  it('takes a longer form than needed, as Kafka does', () => {
    expect(reader('8000').unsignedVarint('x')).toBe(0);
  });
});

describe('zigzag varints', () => {
  const cases: [number, string][] = [
    [0, '00'],
    [-1, '01'],
    [1, '02'],
    [-64, '7f'],
    [64, '8001'],
    [-65, '8101'],
    [0x7fffffff, 'feffffff0f'],
    [-0x80000000, 'ffffffff0f'],
  ];
  it.each(cases)('%i is %s', (value, hex) => {
    expect(sizeOfVarint(value)).toBe(hex.length / 2);
    expect(write(hex.length / 2, (writer) => writer.varint(value)).toString('hex')).toBe(hex);
    expect(reader(hex).varint('x')).toBe(value);
  });

  const long: [Int64, string][] = [
    [0, '00'],
    [-1, '01'],
    [0x3fffffff, 'feffffff07'],
    [-0x40000000, 'ffffffff07'],
    [0x40000000, '8080808008'],
    [2 ** 32, '8080808020'],
    [-(2 ** 32), 'ffffffff1f'],
    [Number.MAX_SAFE_INTEGER, 'feffffffffffff1f'],
    [2n ** 53n, '8080808080808020'],
    [MAX_INT64, 'feffffffffffffffff01'],
    [MIN_INT64, 'ffffffffffffffffff01'],
  ];
  it.each(long)('%s as 64 bits is %s', (value, hex) => {
    expect(sizeOfVarlong(value)).toBe(hex.length / 2);
    expect(write(hex.length / 2, (writer) => writer.varlong(value)).toString('hex')).toBe(hex);
    expect(reader(hex).varlong('x')).toBe(value);
  });

  it('refuses more than ten bytes', () => {
    expect(() => reader('ffffffffffffffffffff01').varlong('x')).toThrow(/longer than 10 bytes/);
  });
});

describe('64-bit integers', () => {
  const edges: bigint[] = [0n, 1n, -1n, 127n, -128n];
  for (const power of [31n, 32n, 33n, 52n, 53n, 54n, 62n]) {
    for (const delta of [-1n, 0n, 1n]) edges.push(2n ** power + delta, -(2n ** power) + delta);
  }
  edges.push(MIN_INT64, MIN_INT64 + 1n, MAX_INT64, MAX_INT64 - 1n);

  it.each(edges.map((value) => [value]))('%s keeps every bit and has one form', (value) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64BE(value);
    const decoded = new ByteReader(bytes).int64('x');
    expect(BigInt(decoded)).toBe(value);
    expect(typeof decoded).toBe(Number.isSafeInteger(Number(value)) ? 'number' : 'bigint');
    expect(Object.is(decoded, -0)).toBe(false);
    expect(canonicalInt64(value)).toBe(decoded);
    expect(int64FromText(String(value))).toBe(decoded);
    for (const form of [decoded, value]) expect(write(8, (writer) => writer.int64(form, 'x'))).toEqual(bytes);
  });

  it('narrows to safe integers or says that it cannot', () => {
    expect(safeInteger(5)).toBe(5);
    expect(safeInteger(5n)).toBe(5);
    expect(() => safeInteger(2n ** 53n, 'offset')).toThrow(/offset 9007199254740992 is not/);
    expect(safeIntegerOrUndefined(2n ** 60n)).toBeUndefined();
    expect(safeIntegerOrUndefined(-(2n ** 40n))).toBe(-(2 ** 40));
  });

  it('refuses what 64 bits do not hold', () => {
    expect(() => canonicalInt64(2n ** 63n)).toThrow(RangeError);
    expect(isInt64(2 ** 60)).toBe(false);
    expect(isInt64(1.5)).toBe(false);
    for (const value of [1.5, 2 ** 53, Number.NaN, 2n ** 63n, -(2n ** 63n) - 1n]) {
      expect(() => write(8, (writer) => writer.int64(value, 'offset'))).toThrow(UnencodableMessageError);
    }
  });
});

describe('fixed-size integers', () => {
  it.each([
    ['int8', 1, -0x80, 0x7f],
    ['int16', 2, -0x8000, 0x7fff],
    ['uint16', 2, 0, 0xffff],
    ['int32', 4, -0x80000000, 0x7fffffff],
    ['uint32', 4, 0, 0xffffffff],
  ] as const)('%s goes to its limits and not beyond', (type, size, low, high) => {
    for (const value of [low, -1, 0, 1, high].filter((edge) => edge >= low)) {
      const bytes = write(size, (writer) => writer[type](value, 'x'));
      expect(new ByteReader(bytes)[type]('x')).toBe(value);
    }
    for (const value of [low - 1, high + 1, 0.5, Number.NaN]) {
      expect(() => write(size, (writer) => writer[type](value, 'x'))).toThrow(UnencodableMessageError);
    }
    expect(() => new ByteReader(Buffer.alloc(size - 1))[type]('x')).toThrow(MalformedMessageError);
  });

  it('float64 keeps every value', () => {
    for (const value of [0, -0, 1.5, -1e300, Number.POSITIVE_INFINITY, Number.NaN, Number.MIN_VALUE]) {
      expect(new ByteReader(write(8, (writer) => writer.float64(value))).float64('x')).toBe(value);
    }
  });

  it('bool is true for any byte but zero', () => {
    expect(reader('00').bool('x')).toBe(false);
    expect(reader('01').bool('x')).toBe(true);
    expect(reader('ff').bool('x')).toBe(true);
  });
});

describe('strings', () => {
  const texts = [
    '',
    'a',
    'orders',
    'é',
    '統統',
    '😀',
    '\u0000',
    'x'.repeat(64),
    'y'.repeat(65),
    `${'z'.repeat(63)}é`,
    'é'.repeat(400),
  ];
  it.each(texts.map((text) => [text]))('%s comes back', (text) => {
    const expected = Buffer.from(text, 'utf8');
    expect(stringSize(text)).toBe(2 + expected.length);
    const plain = write(stringSize(text), (writer) => writer.string(text, 'x'));
    expect(plain.subarray(2)).toEqual(expected);
    expect(new ByteReader(plain).string('x')).toBe(text);
    const compact = write(compactStringSize(text), (writer) => writer.compactString(text, 'x'));
    expect(new ByteReader(compact).compactNullableString('x')).toBe(text);
  });

  it('never mixes up strings that share a place in the cache', () => {
    for (let round = 0; round < 2; round += 1) {
      for (let i = 0; i < 20_000; i += 1) {
        const text = `topic-${i}`;
        expect(
          new ByteReader(write(stringSize(text), (writer) => writer.string(text, 'x'))).string('x'),
        ).toBe(text);
      }
    }
  });

  it('replaces bytes that are no UTF-8, as Java does', () => {
    expect(reader('0003ff6162').string('x')).toBe('\ufffdab');
  });

  it('null is allowed only where it is', () => {
    expect(reader('ffff').nullableString('x')).toBeNull();
    expect(reader('00').compactNullableString('x')).toBeNull();
    expect(() => reader('ffff').string('name')).toThrow(/field name/);
    expect(() => reader('00').compactString('name')).toThrow(/null where a string must be/);
  });

  it('are at most 32767 bytes long, in the compact form too', () => {
    const longest = 'x'.repeat(0x7fff);
    const bytes = write(compactStringSize(longest), (writer) => writer.compactString(longest, 'x'));
    expect(new ByteReader(bytes).compactString('x')).toBe(longest);
    const tooLong = `${longest}x`;
    expect(() => write(4 + tooLong.length, (writer) => writer.string(tooLong, 'x'))).toThrow(
      UnencodableMessageError,
    );
    expect(() => write(4 + tooLong.length, (writer) => writer.compactString(tooLong, 'x'))).toThrow(
      UnencodableMessageError,
    );
    const hostile = Buffer.concat([Buffer.from('818002', 'hex'), Buffer.alloc(0x8000, 0x61)]);
    expect(() => new ByteReader(hostile).compactString('x')).toThrow(/a string of 32768 bytes/);
  });
});

describe('uuids', () => {
  it('are base64url text', () => {
    const bytes = Buffer.from('bda082359b1b4cd2229f79f7a053ce54', 'hex');
    expect(new ByteReader(bytes).uuid('x')).toBe('vaCCNZsbTNIin3n3oFPOVA');
    expect(write(16, (writer) => writer.uuid('vaCCNZsbTNIin3n3oFPOVA', 'x'))).toEqual(bytes);
    expect(uuidFromBytes(bytes)).toBe('vaCCNZsbTNIin3n3oFPOVA');
    expect(uuidToBytes('vaCCNZsbTNIin3n3oFPOVA')).toEqual(bytes);
    expect(new ByteReader(Buffer.alloc(16)).uuid('x')).toBe(ZERO_UUID);
    expect(write(16, (writer) => writer.uuid(ZERO_UUID, 'x'))).toEqual(Buffer.alloc(16));
  });

  it('must be 22 characters that hold 16 bytes', () => {
    for (const text of [
      '',
      'abc',
      'vaCCNZsbTNIin3n3oFPOVB',
      'vaCCNZsbTNIin3n3oFPO==',
      'vaCCNZsbTNIin3n3oFPO+A',
    ]) {
      expect(isUuid(text)).toBe(false);
      expect(() => write(16, (writer) => writer.uuid(text, 'x'))).toThrow(UnencodableMessageError);
    }
  });
});

describe('bytes and records', () => {
  it('bytes are a copy, records a view', () => {
    const frame = Buffer.from('00000002aabb00000002ccdd', 'hex');
    const source = new ByteReader(frame);
    const bytes = source.bytes('x');
    const records = source.records('x');
    frame.fill(0);
    expect(bytes.toString('hex')).toBe('aabb');
    expect(records.toString('hex')).toBe('0000');
  });

  it('lengths beyond what is left, and negative ones, are errors before anything is allocated', () => {
    for (const hex of ['7fffffff00', 'fffffffe', '80000000aa']) {
      expect(() => reader(hex).bytes('x')).toThrow(MalformedMessageError);
      expect(() => reader(hex).records('x')).toThrow(MalformedMessageError);
    }
    expect(() => reader('7fffffff00').nullableBytes('x')).toThrow(MalformedMessageError);
    expect(() => reader('ffffffff0f00').compactBytes('x')).toThrow(MalformedMessageError);
    expect(() => reader('00').compactBytes('x')).toThrow(MalformedMessageError);
    expect(reader('ffffffff').nullableBytes('x')).toBeNull();
  });
});

describe('arrays', () => {
  it('counts are held against the bytes left', () => {
    expect(() => reader('00000003aabb').arrayLength(1, 'topics')).toThrow(
      /field topics: 3 elements cannot be in the 2 bytes left/,
    );
    expect(reader('00000002aabb').arrayLength(1, 'topics')).toBe(2);
    expect(() => reader('7fffffff').arrayLength(4, 'topics')).toThrow(MalformedMessageError);
    expect(() => reader('ffffffff0f').compactArrayLength(1, 'topics')).toThrow(MalformedMessageError);
    expect(() => reader('ffffffff').arrayLength(1, 'topics')).toThrow(/an array's length is -1/);
    expect(() => reader('00').compactArrayLength(1, 'topics')).toThrow(/null where an array/);
    expect(reader('80000000').nullableArrayLength(1, 'topics')).toBe(-1);
    expect(reader('00').compactNullableArrayLength(1, 'topics')).toBe(-1);
  });

  it('a message has at most so many elements, nested ones together', () => {
    const half = MAX_ELEMENTS_PER_MESSAGE / 2;
    const bytes = Buffer.alloc(12 + MAX_ELEMENTS_PER_MESSAGE);
    bytes.writeInt32BE(half, 0);
    bytes.writeInt32BE(half, 4);
    bytes.writeInt32BE(1, 8);
    const source = new ByteReader(bytes);
    expect(source.arrayLength(1, 'x')).toBe(half);
    expect(source.arrayLength(1, 'x')).toBe(half);
    expect(source.elementsRead).toBe(MAX_ELEMENTS_PER_MESSAGE);
    expect(() => source.arrayLength(1, 'x')).toThrow(/more than 1000000 elements/);
  });
});

describe('tagged fields', () => {
  it('unknown ones are skipped', () => {
    const source = reader('0200020102' + '05' + '01ff' + '2a');
    source.skipTags('tagged fields');
    expect(source.int8('x')).toBe(42);
  });

  it('cannot claim more than there is', () => {
    expect(() => reader('ffffffff0f').skipTags('tagged fields')).toThrow(MalformedMessageError);
    expect(() => reader('0105ffffffff0f').skipTags('tagged fields')).toThrow(MalformedMessageError);
    expect(() => reader('01').skipTags('tagged fields')).toThrow(MalformedMessageError);
    expect(() => reader('').skipTags('tagged fields')).toThrow(MalformedMessageError);
  });
});

describe('a writer', () => {
  it('finds out that its size was wrong', () => {
    const writer = new ByteWriter(4);
    writer.int16(1, 'x');
    expect(() => writer.finish()).toThrow(/2 bytes were written into a buffer of 4/);
  });
});
