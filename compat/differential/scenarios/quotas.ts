/** AlterClientQuotas and DescribeClientQuotas: entities, keys, values and filters. */
import type { Peer } from '../peer.ts';
import type { Scenario } from '../scenario.ts';

type Part = readonly [entityType: string, entityName: string | null];

const set = (key: string, value: number) => ({ key, value, remove: false });
const remove = (key: string) => ({ key, value: 0, remove: true });
const entityOf = (parts: readonly Part[]) =>
  parts.map(([entityType, entityName]) => ({ entityType, entityName }));

async function quotas(peer: Peer): Promise<void> {
  for (const version of peer.versions('AlterClientQuotas')) {
    const alter = (label: string, parts: readonly Part[], ops: readonly object[], validateOnly = false) =>
      peer.send(label, 'AlterClientQuotas', version, {
        entries: [{ entity: entityOf(parts), ops }],
        validateOnly,
      });
    const describe = (label: string, components: readonly object[], strict = false) =>
      peer.send(label, 'DescribeClientQuotas', version, { components, strict });
    const is = (entityType: string, match: string) => ({ entityType, matchType: 0, match });
    const isDefault = (entityType: string) => ({ entityType, matchType: 1, match: null });
    const any = (entityType: string) => ({ entityType, matchType: 2, match: null });
    const rate = set('producer_byte_rate', 1e12);

    await alter('one key', [['client-id', 'a']], [rate]);
    await peer.sendUntil(
      'one key shown',
      'DescribeClientQuotas',
      version,
      { components: [is('client-id', 'a')], strict: false },
      (answer) => (answer as { entries: unknown[] }).entries.length > 0,
    );
    await alter('a second key', [['client-id', 'a']], [set('consumer_byte_rate', 2e12)]);
    await alter('only looked at', [['client-id', 'looked']], [rate], true);
    await describe('only looked at is not there', [is('client-id', 'looked')]);
    await alter('a key removed', [['client-id', 'a']], [remove('consumer_byte_rate')]);
    await describe('one key left', [is('client-id', 'a')]);
    await alter('a key that is not there removed', [['client-id', 'a']], [remove('request_percentage')]);
    await alter('an unknown key removed', [['client-id', 'a']], [remove('no_such_key')]);
    await alter('user', [['user', 'u']], [rate]);
    await alter(
      'user and client id',
      [
        ['user', 'u'],
        ['client-id', 'a'],
      ],
      [rate],
    );
    await alter('default user', [['user', null]], [rate]);
    await alter('default client id', [['client-id', null]], [rate]);
    await alter(
      'both defaults',
      [
        ['user', null],
        ['client-id', null],
      ],
      [rate],
    );
    await alter('address', [['ip', '192.0.2.1']], [set('connection_creation_rate', 1000)]);
    await alter('default address', [['ip', null]], [set('connection_creation_rate', 100_000)]);
    await alter('bad address', [['ip', 'no such host']], [set('connection_creation_rate', 1000)]);
    await alter(
      'address and user',
      [
        ['ip', '192.0.2.1'],
        ['user', 'u'],
      ],
      [rate],
    );
    await alter('no entity', [], [rate]);
    await alter('unknown type', [['colour', 'red']], [rate]);
    await alter('empty name', [['user', '']], [rate]);
    await alter(
      'one type twice',
      [
        ['user', 'u'],
        ['user', 'v'],
      ],
      [rate],
    );
    await alter('unknown key', [['user', 'u']], [set('no_such_key', 1)]);
    await alter('key of an address for a user', [['user', 'u']], [set('connection_creation_rate', 1)]);
    await alter('key of a user for an address', [['ip', '192.0.2.1']], [rate]);
    await alter('zero', [['user', 'u']], [set('producer_byte_rate', 0)]);
    await alter('negative', [['user', 'u']], [set('producer_byte_rate', -1)]);
    await alter('a fraction of a byte', [['user', 'u']], [set('producer_byte_rate', 1.5)]);
    await alter('nearly whole', [['user', 'u']], [set('producer_byte_rate', 1e9 + 1e-8)]);
    await alter('a fraction of a percent', [['user', 'u']], [set('request_percentage', 10000.5)]);
    await alter('a fraction of a change', [['user', 'u']], [set('controller_mutation_rate', 10000.5)]);
    await alter('too large', [['user', 'u']], [set('producer_byte_rate', 1e20)]);
    await alter('too many connections', [['ip', '192.0.2.2']], [set('connection_creation_rate', 1e10)]);
    await alter('a fraction of a connection', [['ip', '192.0.2.2']], [set('connection_creation_rate', 1.5)]);
    await alter('good and bad', [['user', 'mixed']], [rate, set('no_such_key', 1)]);
    await describe('good and bad: none', [is('user', 'mixed')]);
    await alter('one key twice', [['user', 'twice']], [rate, set('producer_byte_rate', 2e12)]);
    await alter('no operations', [['user', 'none']], []);
    await describe('no operations: not there', [is('user', 'none')]);
    await peer.send('two entities, one bad', 'AlterClientQuotas', version, {
      entries: [
        { entity: entityOf([['user', 'good']]), ops: [rate] },
        { entity: entityOf([['user', '']]), ops: [rate] },
      ],
      validateOnly: false,
    });
    await peer.send('one entity twice', 'AlterClientQuotas', version, {
      entries: [
        { entity: entityOf([['user', 'good']]), ops: [rate] },
        { entity: entityOf([['user', 'good']]), ops: [set('consumer_byte_rate', 1e12)] },
      ],
      validateOnly: false,
    });
    await describe('the good one', [is('user', 'good')]);
    await peer.send('no entities', 'AlterClientQuotas', version, { entries: [], validateOnly: false });

    await describe('default user shown', [isDefault('user')], true);
    await describe('default user, not strict', [isDefault('user')]);
    await describe('user, strict', [is('user', 'u')], true);
    await describe('user and any client id', [is('user', 'u'), any('client-id')], true);
    await describe('user and default client id', [isDefault('user'), isDefault('client-id')], true);
    await describe('addresses', [is('ip', '192.0.2.1')], true);
    await describe('default address', [isDefault('ip')], true);
    await describe('nobody', [is('user', 'nobody')]);
    await describe('nothing, strict', [], true);
    await describe('address and user', [any('ip'), any('user')]);
    await describe('one type twice', [any('user'), is('user', 'u')]);
    await describe('unknown type', [any('colour')]);
    await describe('empty type', [any('')]);
    await describe('unknown way', [{ entityType: 'user', matchType: 3, match: null }]);
    await describe('name missing', [{ entityType: 'user', matchType: 0, match: null }]);
    await describe('name for the default', [{ entityType: 'user', matchType: 1, match: 'u' }]);
    await describe('name for any', [{ entityType: 'user', matchType: 2, match: 'u' }]);

    const keys = [
      'producer_byte_rate',
      'consumer_byte_rate',
      'request_percentage',
      'controller_mutation_rate',
    ];
    const everybody: readonly (readonly Part[])[] = [
      [['client-id', 'a']],
      [['user', 'u']],
      [
        ['user', 'u'],
        ['client-id', 'a'],
      ],
      [['user', null]],
      [['client-id', null]],
      [
        ['user', null],
        ['client-id', null],
      ],
      [['user', 'twice']],
      [['user', 'good']],
      [['user', 'v']],
    ];
    for (const parts of everybody) await alter(`removed ${JSON.stringify(parts)}`, parts, keys.map(remove));
    await alter('address removed', [['ip', '192.0.2.1']], [remove('connection_creation_rate')]);
    await alter('default address removed', [['ip', null]], [remove('connection_creation_rate')]);
    await describe('nothing is left', []);
  }
}

export const quotaScenarios: readonly Scenario[] = [{ name: 'quotas', run: quotas }];
