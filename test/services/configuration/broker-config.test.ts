import { describe, expect, it } from 'vitest';
import { BrokerConfig } from '../../../src/services/configuration/broker-config.ts';
import { configSources } from '../../../src/services/configuration/config-definition.ts';

const given = (values: Record<string, string>) => new BrokerConfig(new Map(Object.entries(values)));
const { DEFAULT_CONFIG, DYNAMIC_BROKER_CONFIG, DYNAMIC_DEFAULT_BROKER_CONFIG, STATIC_BROKER_CONFIG } =
  configSources;

describe('broker settings', () => {
  it('have their defaults', () => {
    const config = new BrokerConfig();
    expect(config.int('node.id')).toBe(1);
    expect(config.int('group.initial.rebalance.delay.ms')).toBe(0);
    expect(config.int('num.partitions')).toBe(1);
    expect(config.boolean('auto.create.topics.enable')).toBe(true);
    expect(config.string('rmq.flush.policy')).toBe('acks');
    expect(config.list('listeners')).toEqual(['PLAINTEXT://localhost:9092']);
    expect(config.list('advertised.listeners')).toEqual([]);
    expect(config.long('log.flush.interval.messages')).toBe(Number.POSITIVE_INFINITY);
    expect(config.isSet('num.partitions')).toBe(false);
    expect(config.remarks).toEqual([]);
  });

  it('remark on what has no effect, and on nothing else', () => {
    const config = given({
      'num.partitions': '3',
      'num.io.threads': '16',
      'num.network.threads': '3',
      'sasl.enabled.mechanisms': 'PLAIN',
      'my.own': 'x',
    });
    expect(config.remarks.map(({ level, key }) => [level, key])).toEqual([
      ['info', 'num.io.threads'],
      ['warn', 'sasl.enabled.mechanisms'],
      ['warn', 'my.own'],
    ]);
  });

  it('refuse a bad value', () => {
    expect(() => given({ 'num.partitions': '0' })).toThrow('Value must be at least 1');
    expect(() => given({ 'rmq.flush.policy': 'sometimes' })).toThrow(
      'String must be one of: acks, always, interval',
    );
  });

  it('take the old name of node.id, and refuse two that differ', () => {
    expect(given({ 'broker.id': '7' }).int('node.id')).toBe(7);
    expect(given({ 'node.id': '7' }).int('broker.id')).toBe(7);
    expect(() => given({ 'node.id': '7', 'broker.id': '8' })).toThrow('same value');
  });

  it('take the strongest of a family', () => {
    expect(new BrokerConfig().retentionMs).toBe(604_800_000);
    expect(given({ 'log.retention.hours': '1' }).retentionMs).toBe(3_600_000);
    expect(given({ 'log.retention.hours': '1', 'log.retention.minutes': '2' }).retentionMs).toBe(120_000);
    expect(given({ 'log.retention.minutes': '2', 'log.retention.ms': '3' }).retentionMs).toBe(3);
    expect(given({ 'log.retention.hours': '-1' }).retentionMs).toBe(-1);
    expect(given({ 'log.flush.scheduler.interval.ms': '9' }).flushMs).toBe(9);
    expect(new BrokerConfig().flushMs).toBe(Number.POSITIVE_INFINITY);
  });

  it('change while running: this broker over all brokers over what was given', () => {
    const config = given({ 'message.max.bytes': '100' });
    const told: string[][] = [];
    const stop = config.onChanged((names) => told.push([...names]));
    config.setDynamic(new Map([['message.max.bytes', '200']]), new Map());
    expect(config.int('message.max.bytes')).toBe(200);
    config.setDynamic(new Map([['message.max.bytes', '200']]), new Map([['message.max.bytes', '300']]));
    expect(config.int('message.max.bytes')).toBe(300);
    expect(config.synonyms('message.max.bytes')).toEqual([
      { name: 'message.max.bytes', text: '300', source: DYNAMIC_BROKER_CONFIG },
      { name: 'message.max.bytes', text: '200', source: DYNAMIC_DEFAULT_BROKER_CONFIG },
      { name: 'message.max.bytes', text: '100', source: STATIC_BROKER_CONFIG },
      { name: 'message.max.bytes', text: '1048588', source: DEFAULT_CONFIG },
    ]);
    config.setDynamic(new Map(), new Map([['message.max.bytes', '300']]));
    expect(told).toEqual([['message.max.bytes'], ['message.max.bytes']]);
    stop();
    config.setDynamic(new Map(), new Map());
    expect(config.int('message.max.bytes')).toBe(100);
    expect(told).toHaveLength(2);
  });

  it('pass over a stored value that is no longer allowed', () => {
    const config = given({ 'message.max.bytes': '100' });
    config.setDynamic(new Map([['message.max.bytes', '-5']]), new Map([['message.max.bytes', 'x']]));
    expect(config.int('message.max.bytes')).toBe(100);
  });

  it('show weaker members of a family only behind a value of its own', () => {
    const config = given({ 'log.retention.minutes': '7' });
    expect(config.synonyms('log.retention.ms')).toEqual([]);
    expect(config.synonyms('log.retention.ms', true)).toEqual([
      { name: 'log.retention.minutes', text: '7', source: STATIC_BROKER_CONFIG },
      { name: 'log.retention.hours', text: '168', source: DEFAULT_CONFIG },
    ]);
    expect(config.synonyms('log.retention.hours')).toEqual([
      { name: 'log.retention.hours', text: '168', source: DEFAULT_CONFIG },
    ]);
  });
});
