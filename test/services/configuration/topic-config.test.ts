import { describe, expect, it } from 'vitest';
import { BrokerConfig } from '../../../src/services/configuration/broker-config.ts';
import { configSources } from '../../../src/services/configuration/config-definition.ts';
import {
  checkTopicOverrides,
  describeTopicConfig,
  topicSettings,
} from '../../../src/services/configuration/topic-config.ts';

const broker = new BrokerConfig();
const given = (values: Record<string, string>) => new Map(Object.entries(values));
const check = (values: Record<string, string>) => checkTopicOverrides(given(values), broker);

describe('topic settings', () => {
  it('fall back to the broker and are what services act on', () => {
    expect(topicSettings(new Map(), broker)).toEqual({
      cleanupCompact: false,
      cleanupDelete: true,
      compressionType: 'producer',
      compressionGzipLevel: -1,
      compressionLz4Level: 9,
      compressionZstdLevel: 3,
      maxMessageBytes: 1048588,
      messageTimestampType: 'CreateTime',
      messageTimestampBeforeMaxMs: Number.POSITIVE_INFINITY,
      messageTimestampAfterMaxMs: 3600000,
      minInsyncReplicas: 1,
      flushMessages: Number.POSITIVE_INFINITY,
      flushMs: Number.POSITIVE_INFINITY,
      retentionMs: 604800000,
      retentionBytes: -1,
      deleteRetentionMs: 86400000,
      minCleanableDirtyRatio: 0.5,
      minCompactionLagMs: 0,
      maxCompactionLagMs: Number.POSITIVE_INFINITY,
      segmentBytes: 1073741824,
      segmentMs: 604800000,
      messageType: 'NORMAL',
      delayDefaultMs: -1,
      delayMaxMs: 259200000,
      role: 'plain',
      producerGroup: '',
      retryGroup: '',
      takesDeadLetters: false,
    });
    const other = new BrokerConfig(
      given({ 'log.retention.minutes': '1', 'message.max.bytes': '5', 'log.cleanup.policy': 'compact' }),
    );
    expect(topicSettings(given({ 'max.message.bytes': '6' }), other)).toMatchObject({
      retentionMs: 60000,
      maxMessageBytes: 6,
      cleanupCompact: true,
      cleanupDelete: false,
    });
  });

  it('are shown with where they come from', () => {
    const other = new BrokerConfig(given({ 'log.retention.minutes': '1' }));
    const shown = (name: string) =>
      describeTopicConfig(given({ 'flush.ms': ' 5 ' }), other).find((each) => each.definition.name === name);
    expect(shown('retention.ms')).toMatchObject({
      text: '60000',
      source: configSources.STATIC_BROKER_CONFIG,
    });
    expect(shown('flush.ms')).toMatchObject({
      text: '5',
      source: configSources.TOPIC_CONFIG,
      synonyms: [{ name: 'flush.ms', text: '5', source: configSources.TOPIC_CONFIG }],
    });
  });

  it.each([
    [{ foo: '1' }, 'Unknown topic config name: foo'],
    [{ 'retention.ms': '-5' }, 'Invalid value -5 for configuration retention.ms: Value must be at least -1'],
    [
      { 'cleanup.policy': 'compact,foo' },
      'Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete',
    ],
    [
      { 'remote.storage.enable': 'true' },
      'Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.',
    ],
    [
      { 'follower.replication.throttled.replicas': 'x' },
      "Invalid value [x] for configuration follower.replication.throttled.replicas: follower.replication.throttled.replicas must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
    ],
    [
      { 'min.compaction.lag.ms': '10', 'max.compaction.lag.ms': '5' },
      'conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)',
    ],
    [{ 'compression.gzip.level': '0' }, 'Value must be between 1 and 9 or equal to -1'],
    [{ 'max.decompressed.message.bytes': '1000' }, 'only 2147483639 is possible'],
    [{ 'message.format.version': '2.0' }, 'Unknown topic config name: message.format.version'],
  ])('refuse %j', (values, message) => {
    expect(() => check(values as Record<string, string>)).toThrow(message);
  });

  it.each([
    { 'cleanup.policy': '' },
    { 'leader.replication.throttled.replicas': '*' },
    { 'leader.replication.throttled.replicas': '0:1,1:1' },
    { 'max.decompressed.message.bytes': '2147483639' },
    { 'remote.storage.enable': 'false' },
    { 'min.insync.replicas': '3' },
  ])('take %j', (values) => {
    expect(() => check(values as Record<string, string>)).not.toThrow();
  });
});
