import { describe, expect, it } from 'vitest';
import { consumerProtocolSubscription } from '../../../../protocol/generated/data-consumer-protocol-subscription.ts';
import { encodeMessage } from '../../../../protocol/message-codec.ts';
import {
  consumerReadsTopic,
  readsTopic,
} from '../../../../src/services/features/half-message/check-readers.ts';

const topic = 'checks';

describe('whether anyone reads the check topic', () => {
  it.each([
    ['consumer', ['checks'], true],
    ['consumer', ['orders', 'checks'], true],
    ['consumer', ['orders'], false],
    ['connect', ['orders'], true],
  ])('in a classic group of %s that subscribes to %j: %s', (protocolType, topics, expected) => {
    const memberMetadata = Buffer.concat([
      Buffer.from([0, 0]),
      ...encodeMessage(consumerProtocolSubscription, { topics, userData: null }, 0),
    ]);
    const member = {
      memberId: 'a',
      clientId: '',
      clientHost: '',
      memberMetadata,
      memberAssignment: memberMetadata,
    };
    expect(readsTopic({ protocolType, members: [member] }, topic)).toBe(expected);
    expect(readsTopic({ protocolType, members: [] }, topic)).toBe(false);
  });

  const nothing = { topicPartitions: [] };
  const checks = {
    topicPartitions: [{ topicId: 'AAAAAAAAAAAAAAAAAAAAAQ', topicName: topic, partitions: [0] }],
  };
  it.each([
    ['subscribes to it by name', ['checks'], nothing, nothing, true],
    ['has it by an expression', [], checks, checks, true],
    ['is meant to have it by an expression', [], nothing, checks, true],
    ['reads something else', ['orders'], nothing, nothing, false],
  ])(
    'in a consumer group whose member %s',
    (_what, subscribedTopicNames, assignment, targetAssignment, expected) => {
      const member = {
        memberId: 'a',
        memberEpoch: 1,
        clientId: '',
        clientHost: '',
        subscribedTopicNames,
        assignment,
        targetAssignment,
      };
      expect(consumerReadsTopic({ members: [member] }, topic)).toBe(expected);
    },
  );
});
