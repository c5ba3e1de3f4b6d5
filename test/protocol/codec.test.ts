import { describe, expect, it } from 'vitest';
import { produceRequest, produceResponse } from '../../protocol/generated/00-produce.ts';
import { fetchRequest, fetchResponse } from '../../protocol/generated/01-fetch.ts';
import { metadataRequest } from '../../protocol/generated/03-metadata.ts';
import { offsetFetchRequest } from '../../protocol/generated/09-offset-fetch.ts';
import { heartbeatRequest } from '../../protocol/generated/12-heartbeat.ts';
import { describeTopicPartitionsRequest } from '../../protocol/generated/75-describe-topic-partitions.ts';
import { apiByKey, apis } from '../../protocol/generated/apis.ts';
import {
  offsetCommitKey,
  offsetCommitKeyRecordType,
} from '../../protocol/generated/data-offset-commit-key.ts';
import { codecs } from '../../protocol/generated/messages.ts';
import { encodeMessage, encodeToBuffer, isFlexible, NEVER_FLEXIBLE } from '../../protocol/message-codec.ts';
import { ByteReader } from '../../protocol/wire/byte-reader.ts';
import { MIN_REFERENCED_RECORDS_BYTES } from '../../protocol/wire/byte-writer.ts';
import {
  MalformedMessageError,
  UnencodableMessageError,
  UnknownMessageVersionError,
} from '../../protocol/wire/errors.ts';
import { ZERO_UUID } from '../../protocol/wire/uuid.ts';

const produce = (records: Buffer | readonly Buffer[] | null) => ({
  acks: -1,
  timeoutMs: 1000,
  topicData: [{ name: 'orders', partitionData: [{ index: 3, records }] }],
});

describe('records in a message', () => {
  it('small ones are copied in, big ones passed on by reference', () => {
    const small = Buffer.alloc(MIN_REFERENCED_RECORDS_BYTES - 1, 1);
    expect(encodeMessage(produceRequest, produce(small), 7)).toHaveLength(1);
    const big = Buffer.alloc(MIN_REFERENCED_RECORDS_BYTES, 1);
    const parts = encodeMessage(produceRequest, produce(big), 7);
    expect(parts).toHaveLength(2);
    expect(parts[1]).toBe(big);
    expect(produceRequest.sizeOf(produce(big), 7)).toBe(parts[0]!.length + big.length);
  });

  it('a list of buffers is one record set', () => {
    const pieces = [Buffer.alloc(900, 1), Buffer.alloc(0), Buffer.alloc(900, 2)];
    for (const version of [7, 9]) {
      const parts = encodeMessage(produceRequest, produce(pieces), version);
      expect(parts).toContain(pieces[0]);
      expect(parts).toContain(pieces[2]);
      const decoded = produceRequest.decode(new ByteReader(Buffer.concat(parts)), version);
      expect(decoded.topicData[0]!.partitionData[0]!.records).toEqual(Buffer.concat(pieces));
    }
  });

  it('what follows a referenced record set is still in its place', () => {
    const sets = [1500, 10, 2000, 0].map((size, index) => Buffer.alloc(size, index + 1));
    const response = {
      sessionId: 5,
      responses: [
        {
          topic: 'orders',
          partitions: sets.map((records, partitionIndex) => ({
            partitionIndex,
            errorCode: 0,
            highWatermark: 9,
            records,
          })),
        },
      ],
    };
    for (const version of [4, 11, 12]) {
      const value = version === 4 ? { ...response, sessionId: 0 } : response;
      const parts = encodeMessage(fetchResponse, value, version);
      expect(parts).toContain(sets[0]);
      expect(parts).toContain(sets[2]);
      const bytes = Buffer.concat(parts);
      expect(bytes.length).toBe(fetchResponse.sizeOf(value, version));
      const decoded = fetchResponse.decode(new ByteReader(bytes), version);
      expect(decoded.responses[0]!.partitions.map((partition) => partition.records)).toEqual(sets);
    }
  });

  it('null and empty differ', () => {
    for (const version of [0, 7, 9, 13]) {
      for (const records of [null, Buffer.alloc(0)]) {
        const input = {
          ...produce(records),
          topicData: [
            { ...(version >= 13 ? {} : { name: 'orders' }), partitionData: [{ index: 0, records }] },
          ],
        };
        const decoded = produceRequest.decode(
          new ByteReader(encodeToBuffer(produceRequest, input, version)),
          version,
        );
        expect(decoded.topicData[0]!.partitionData[0]!.records).toEqual(records);
      }
    }
  });
});

describe('fields outside their versions', () => {
  it('hold their defaults when decoded', () => {
    const bytes = encodeToBuffer(produceRequest, produce(null), 0);
    const decoded = produceRequest.decode(new ByteReader(bytes), 0);
    expect(decoded.transactionalId).toBeNull();
    expect(decoded.topicData[0]!.topicId).toBe(ZERO_UUID);
    const fetch = fetchRequest.decode(
      new ByteReader(encodeToBuffer(fetchRequest, { maxWaitMs: 1, minBytes: 1, topics: [] }, 0)),
      0,
    );
    expect(fetch).toMatchObject({
      replicaId: -1,
      maxBytes: 0x7fffffff,
      sessionEpoch: -1,
      rackId: '',
      clusterId: null,
    });
    expect(fetch.replicaState).toEqual({ replicaId: -1, replicaEpoch: -1 });
  });

  it('are dropped where ignorable or default, and refused otherwise', () => {
    const input = { maxWaitMs: 1, minBytes: 1, topics: [], rackId: 'north', maxBytes: 5 };
    expect(encodeToBuffer(fetchRequest, input, 0)).toEqual(
      encodeToBuffer(fetchRequest, { maxWaitMs: 1, minBytes: 1, topics: [] }, 0),
    );
    const withTransaction = { ...produce(null), transactionalId: 'tx' };
    expect(() => encodeToBuffer(produceRequest, withTransaction, 2)).toThrow(UnencodableMessageError);
    expect(() => encodeToBuffer(produceRequest, withTransaction, 2)).toThrow(
      'ProduceRequest v2, field transactionalId: this version cannot carry it',
    );
    expect(() =>
      encodeToBuffer(produceRequest, { ...produce(null), transactionalId: null }, 2),
    ).not.toThrow();
  });

  it('null is refused where the version has none', () => {
    expect(() => encodeToBuffer(metadataRequest, { topics: null }, 0)).toThrow(
      /MetadataRequest v0, field topics: null/,
    );
    expect(encodeToBuffer(metadataRequest, { topics: null }, 1).toString('hex')).toBe('ffffffff');
    expect(() =>
      encodeToBuffer(metadataRequest, { topics: [{ name: null, topicId: ZERO_UUID }] }, 9),
    ).toThrow(/field topics.name: null/);
    expect(() => encodeToBuffer(offsetFetchRequest, { groupId: 'g', topics: null }, 1)).toThrow(
      UnencodableMessageError,
    );
    expect(() => encodeToBuffer(offsetFetchRequest, { groupId: 'g', topics: null }, 2)).not.toThrow();
  });
});

describe('tagged fields', () => {
  const input = { maxWaitMs: 1, minBytes: 1, topics: [] };

  it('are absent at their default and present otherwise', () => {
    const plain = encodeToBuffer(fetchRequest, input, 15);
    expect(plain.at(-1)).toBe(0);
    const tagged = encodeToBuffer(
      fetchRequest,
      { ...input, clusterId: 'c', replicaState: { replicaId: 7, replicaEpoch: 2n ** 60n } },
      15,
    );
    const decoded = fetchRequest.decode(new ByteReader(tagged), 15);
    expect(decoded.clusterId).toBe('c');
    expect(decoded.replicaState).toEqual({ replicaId: 7, replicaEpoch: 2n ** 60n });
    expect(fetchRequest.decode(new ByteReader(plain), 15).replicaState).toEqual({
      replicaId: -1,
      replicaEpoch: -1,
    });
  });

  it('unknown ones are skipped, also a known tag in a version that has it not', () => {
    const plain = encodeToBuffer(fetchRequest, input, 12);
    // Tag 1 is ReplicaState from version 15 on; tag 99 nothing.
    const bytes = Buffer.concat([plain.subarray(0, -1), Buffer.from('020103aabbcc6300', 'hex')]);
    expect(fetchRequest.decode(new ByteReader(bytes), 12)).toEqual(
      fetchRequest.decode(new ByteReader(plain), 12),
    );
  });

  it('must be as long as they say', () => {
    const plain = encodeToBuffer(fetchRequest, input, 12);
    for (const tags of ['010003026300', '0100010263', '01000263']) {
      const bytes = Buffer.concat([plain.subarray(0, -1), Buffer.from(tags, 'hex')]);
      expect(() => fetchRequest.decode(new ByteReader(bytes), 12)).toThrow(MalformedMessageError);
    }
  });
});

describe('hostile bytes', () => {
  it('an error names message, version and field', () => {
    const bytes = encodeToBuffer(produceRequest, produce(Buffer.alloc(10)), 7);
    bytes.writeInt32BE(0x7fffffff, bytes.length - 14);
    try {
      produceRequest.decode(new ByteReader(bytes), 7);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(MalformedMessageError);
      expect(error).toMatchObject({
        messageName: 'ProduceRequest',
        version: 7,
        field: 'topicData.partitionData.records',
      });
    }
  });

  it('every truncation of a message is an error', () => {
    const bytes = encodeToBuffer(
      fetchRequest,
      {
        maxWaitMs: 1,
        minBytes: 1,
        topics: [{ topic: 'orders', partitions: [{ partition: 0, fetchOffset: 5, partitionMaxBytes: 9 }] }],
      },
      11,
    );
    for (let end = 0; end < bytes.length; end += 1) {
      expect(() => fetchRequest.decode(new ByteReader(bytes, 0, end), 11)).toThrow(MalformedMessageError);
    }
    expect(() => fetchRequest.decode(new ByteReader(bytes), 11)).not.toThrow();
  });

  it('bytes after the body are left alone, as Kafka leaves them', () => {
    const body = encodeToBuffer(heartbeatRequest, { groupId: 'g', generationId: 1, memberId: 'm' }, 0);
    const reader = new ByteReader(Buffer.concat([body, Buffer.from('extra')]));
    expect(heartbeatRequest.decode(reader, 0).groupId).toBe('g');
    expect(reader.remaining).toBe(5);
  });

  it('a nullable struct is led by a byte whose sign counts', () => {
    const none = encodeToBuffer(describeTopicPartitionsRequest, { topics: [], responsePartitionLimit: 1 }, 0);
    expect(none.toString('hex')).toBe('0100000001ff00');
    const decode = (hex: string) =>
      describeTopicPartitionsRequest.decode(new ByteReader(Buffer.from(hex, 'hex')), 0).cursor;
    expect(decode('0100000001ff00')).toBeNull();
    expect(decode('01000000018000')).toBeNull();
    expect(decode('01000000010102610000000500' + '00')).toEqual({ topicName: 'a', partitionIndex: 5 });
  });
});

describe('versions', () => {
  it('one that the codec does not know is an error of its own', () => {
    for (const version of [-1, 14, 1.5e9, Number.NaN]) {
      expect(() => produceRequest.decode(new ByteReader(Buffer.alloc(0)), version)).toThrow(
        UnknownMessageVersionError,
      );
      expect(() => produceRequest.sizeOf(produce(null), version)).toThrow(UnknownMessageVersionError);
    }
    expect(() => encodeToBuffer(produceResponse, { responses: [] }, 14)).toThrow(/0 to 13 are/);
  });

  it('the table of APIs says which are stable', () => {
    const producer = apiByKey(22)!;
    expect(producer).toMatchObject({
      name: 'InitProducerId',
      minVersion: 0,
      maxVersion: 5,
      maxUnstableVersion: 6,
    });
    for (const api of apis) {
      expect(api.request.apiKey).toBe(api.apiKey);
      expect(api.request.name).toBe(`${api.name}Request`);
      expect(api.response.name).toBe(`${api.name}Response`);
      expect(api.maxVersion).toBeLessThanOrEqual(api.maxUnstableVersion);
      expect([api.request.minVersion, api.request.maxVersion]).toEqual([
        api.minVersion,
        api.maxUnstableVersion,
      ]);
      expect(apiByKey(api.apiKey)).toBe(api);
    }
    expect(apis.filter((api) => api.maxVersion !== api.maxUnstableVersion).map((api) => api.name)).toEqual([
      'InitProducerId',
    ]);
    expect(apis).toHaveLength(74);
    expect(apiByKey(4)).toBeUndefined();
    expect(apiByKey(-1)).toBeUndefined();
  });

  it('data messages have no API key', () => {
    expect(offsetCommitKey.apiKey).toBe(-1);
    expect(offsetCommitKeyRecordType).toBe(1);
    expect(offsetCommitKey.flexibleFrom).toBe(NEVER_FLEXIBLE);
    expect(isFlexible(offsetCommitKey, 0)).toBe(false);
    expect(isFlexible(codecs.get('OffsetCommitValue')!, 4)).toBe(true);
  });
});
