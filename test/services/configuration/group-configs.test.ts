import { describe, expect, it } from 'vitest';
import { BrokerConfig } from '../../../src/services/configuration/broker-config.ts';
import { configOperations } from '../../../src/services/configuration/config-operations.ts';
import { groupConfigDefinitions } from '../../../src/services/configuration/group-config.ts';
import { GroupConfigs } from '../../../src/services/configuration/group-configs.ts';
import { memoryEngine } from '../../handlers/admin-broker.ts';

const start = () => new GroupConfigs(memoryEngine().catalogue, new BrokerConfig());

describe('settings of groups', () => {
  it('fall back to those of the broker', () => {
    const broker = new BrokerConfig(new Map([['group.share.delivery.count.limit', '7']]));
    const groups = new GroupConfigs(memoryEngine().catalogue, broker);
    expect(groups.int('g', 'share.delivery.count.limit')).toBe(7);
    expect(groups.string('g', 'share.isolation.level')).toBe('read_uncommitted');
    expect(groups.groups()).toEqual([]);
  });

  it('are refused where nobody knows the name', async () => {
    const operations = [{ name: 'nothing', operation: configOperations.SET, value: '1' }];
    const refusal = await start().change('g', operations, false);
    expect(refusal).toMatchObject({ code: 40, message: 'Unknown group config name: nothing' });
  });

  const absent = groupConfigDefinitions.filter(({ standing }) => standing === 'absent');
  it('are refused where the kind of group is not served', async () => {
    const name = absent[0]?.name ?? 'nothing';
    const operations = [{ name, operation: configOperations.SET, value: '1' }];
    expect(await start().change('g', operations, false)).toMatchObject({ code: 40 });
  });
});
