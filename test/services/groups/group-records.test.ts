import { describe, expect, it } from 'vitest';
import { type GroupRecord, groupRecordFormat } from '../../../src/services/groups/group-records.ts';

/** Laid out as Kafka 4.3.0 writes them; what it wrote was decoded and encoded again to the same bytes. */
const offset: GroupRecord = {
  type: 'offset-commit',
  key: { group: 'grp', topic: 'top', partition: 2 },
  value: {
    offset: 5,
    leaderEpoch: -1,
    metadata: 'm',
    commitTimestamp: 1_700_000_000_000,
    expireTimestamp: -1,
    topicId: 'AAAAAAAAAAAAAAAAAAAAAQ',
  },
};

describe('records of __consumer_offsets', () => {
  it('name a committed offset with type 1, and its value with version 4', () => {
    const { key, value } = groupRecordFormat.encode(offset);
    expect(key.toString('hex')).toBe('000100036772700003746f7000000002');
    expect(value!.toString('hex')).toBe(
      '00040000000000000005ffffffff026d0000018bcfe56800010010' + '00000000000000000000000000000001',
    );
    expect(groupRecordFormat.decode(key, value)).toEqual(offset);
  });

  it('give an offset with a retention of its own version 1', () => {
    const { value } = groupRecordFormat.encode({
      ...offset,
      value: { ...offset.value!, expireTimestamp: 1_700_000_000_001 },
    } as GroupRecord);
    expect(value!.toString('hex')).toBe('0001000000000000000500016d0000018bcfe568000000018bcfe56801');
  });

  it.each([
    ['0000000000000000000500016d0000018bcfe56800', -1],
    ['00020000000000000005' + '00016d' + '0000018bcfe56800', -1],
    ['00030000000000000005' + '00000007' + '00016d' + '0000018bcfe56800', 7],
  ])('read an offset of old: %s', (hex, leaderEpoch) => {
    for (const type of ['0000', '0001']) {
      const key = Buffer.from(`${type}00036772700003746f7000000002`, 'hex');
      const record = groupRecordFormat.decode(key, Buffer.from(hex, 'hex'));
      expect(record).toMatchObject({ key: offset.key, value: { offset: 5, metadata: 'm', leaderEpoch } });
    }
  });

  it('name a group with type 2, and its value with version 3', () => {
    const group: GroupRecord = {
      type: 'group-metadata',
      key: { group: 'grp' },
      value: {
        protocolType: 'consumer',
        generation: 1,
        protocol: 'range',
        leader: 'm1',
        currentStateTimestamp: 1_700_000_000_000,
        members: [
          {
            memberId: 'm1',
            groupInstanceId: null,
            clientId: 'c',
            clientHost: '/127.0.0.1',
            rebalanceTimeout: 5000,
            sessionTimeout: 10000,
            subscription: Buffer.from('s'),
            assignment: Buffer.from('abc'),
          },
        ],
      },
    };
    const { key, value } = groupRecordFormat.encode(group);
    expect(key.toString('hex')).toBe('00020003677270');
    expect(value!.toString('hex')).toBe(
      '0003' +
        '0008636f6e73756d6572' +
        '00000001' +
        '000572616e6765' +
        '00026d31' +
        '0000018bcfe56800' +
        '00000001' +
        '00026d31' +
        'ffff' +
        '000163' +
        '000a2f3132372e302e302e31' +
        '00001388' +
        '00002710' +
        '0000000173' +
        '00000003616263',
    );
    expect(groupRecordFormat.decode(key, value)).toEqual(group);
    expect(groupRecordFormat.decode(key, null)).toEqual({ ...group, value: null });
  });

  it('pass over what is not known', () => {
    expect(groupRecordFormat.decode(Buffer.from('00630003677270', 'hex'), Buffer.alloc(4))).toBeUndefined();
  });
});
