import { describe, expect, it } from 'vitest';
import { BrokerConfig } from '../../../src/services/configuration/broker-config.ts';
import { configOperations } from '../../../src/services/configuration/config-operations.ts';
import { DynamicBrokerConfig } from '../../../src/services/configuration/dynamic-broker-config.ts';
import { memoryEngine } from '../../handlers/admin-broker.ts';

const { APPEND, DELETE, SET } = configOperations;
const { catalogue } = memoryEngine();
const start = () => {
  const config = new BrokerConfig();
  return { config, dynamic: new DynamicBrokerConfig(catalogue, config) };
};

describe('settings changed while running', () => {
  it('are kept, seen by others and by the next start', async () => {
    const one = start();
    const two = start();
    const refused = await one.dynamic.change(
      'all-brokers',
      [{ name: 'log.retention.ms', operation: SET, value: '77' }],
      false,
    );
    expect(refused).toBeUndefined();
    expect(one.config.retentionMs).toBe(77);
    await new Promise((resolve) => setImmediate(resolve));
    expect(two.config.retentionMs).toBe(77);
    expect(start().config.retentionMs).toBe(77);
  });

  it('go back to what is behind them', async () => {
    const { config, dynamic } = start();
    const set = (value: string) => [{ name: 'message.max.bytes', operation: SET, value }];
    await dynamic.change('all-brokers', set('5'), false);
    await dynamic.change('this-broker', set('6'), false);
    expect(config.int('message.max.bytes')).toBe(6);
    await dynamic.change(
      'this-broker',
      [{ name: 'message.max.bytes', operation: DELETE, value: null }],
      false,
    );
    expect(config.int('message.max.bytes')).toBe(5);
    await dynamic.replace('all-brokers', new Map(), false);
    expect(config.int('message.max.bytes')).toBe(1048588);
    expect(config.isSet('log.retention.ms')).toBe(false);
  });

  it('are not changed by a look', async () => {
    const { config, dynamic } = start();
    const operations = [{ name: 'message.max.bytes', operation: SET, value: '5' }];
    expect(await dynamic.change('this-broker', operations, true)).toBeUndefined();
    expect(config.int('message.max.bytes')).toBe(1048588);
  });

  it('append to what is in force', async () => {
    const { config, dynamic } = start();
    await dynamic.change(
      'this-broker',
      [{ name: 'log.cleanup.policy', operation: APPEND, value: 'compact' }],
      false,
    );
    expect(config.list('log.cleanup.policy')).toEqual(['delete', 'compact']);
    await dynamic.replace('this-broker', new Map(), false);
  });

  it.each([
    [
      'fixed at start',
      { name: 'num.partitions', operation: SET, value: '2' },
      'Cannot update these configs dynamically: [num.partitions]',
    ],
    [
      'unknown',
      { name: 'my.own', operation: SET, value: '2' },
      'Cannot update these configs dynamically: [my.own]',
    ],
    [
      'not there',
      { name: 'ssl.client.auth', operation: SET, value: 'none' },
      'Cannot update these configs dynamically: [ssl.client.auth]',
    ],
    [
      'bad',
      { name: 'log.cleaner.threads', operation: SET, value: '-1' },
      'Invalid value -1 for configuration log.cleaner.threads: Value must be at least 0',
    ],
  ])('are refused where the setting is %s', async (_what, operation, message) => {
    const refused = await start().dynamic.change('this-broker', [operation], false);
    expect(refused).toEqual({ code: 42, message });
  });

  it('survive a writer that was faster', async () => {
    const one = start();
    const two = start();
    const set = (name: string) => [{ name, operation: SET, value: '9' }];
    await Promise.all([
      one.dynamic.change('this-broker', set('log.retention.bytes'), false),
      two.dynamic.change('this-broker', set('message.max.bytes'), false),
    ]);
    const { config } = start();
    expect([config.long('log.retention.bytes'), config.int('message.max.bytes')]).toEqual([9, 9]);
  });
});
