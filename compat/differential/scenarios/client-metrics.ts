/** CLIENT_METRICS resources: made, described, listed and taken back. Kafka takes what clients push only with a plugin, so that is not here. */
import type { Peer } from '../peer.ts';
import type { Scenario } from '../scenario.ts';

const resourceType = 16;
const [set, remove, append, subtract] = [0, 1, 2, 3];
type Operation = readonly [name: string, operation: number, value: string | null];

async function subscriptions(peer: Peer): Promise<void> {
  const version = Math.max(...peer.versions('IncrementalAlterConfigs'));
  const alter = (label: string, name: string, operations: readonly Operation[], validateOnly = false) =>
    peer.send(label, 'IncrementalAlterConfigs', version, {
      resources: [
        {
          resourceType,
          resourceName: name,
          configs: operations.map(([key, configOperation, value]) => ({
            name: key,
            configOperation,
            value,
          })),
        },
      ],
      validateOnly,
    });
  const describe = async (label: string, name: string, interval?: string) => {
    for (const describeVersion of peer.versions('DescribeConfigs')) {
      const body = {
        resources: [{ resourceType, resourceName: name, configurationKeys: null }],
        includeSynonyms: true,
        includeDocumentation: false,
      };
      await peer.sendUntil(label, 'DescribeConfigs', describeVersion, body, (answer) => {
        const { results } = answer as { results: { configs: { name: string; value: string }[] }[] };
        const shown = results[0]?.configs.find((config) => config.name === 'interval.ms')?.value;
        return interval === undefined || shown === interval;
      });
    }
  };
  const list = async (label: string, least: number) => {
    for (const listVersion of peer.versions('ListConfigResources')) {
      const body = listVersion === 0 ? {} : { resourceTypes: [resourceType] };
      await peer.sendUntil(label, 'ListConfigResources', listVersion, body, (answer) => {
        const { configResources } = answer as { configResources: unknown[] };
        return least === 0 ? configResources.length === 0 : configResources.length >= least;
      });
    }
  };
  await describe('not there', 'cm-one');
  await alter('interval', 'cm-one', [['interval.ms', set, '5000']]);
  await alter('all keys', 'cm-two', [
    ['interval.ms', set, '6000'],
    ['metrics', set, 'org.apache.kafka.producer.,org.apache.kafka.consumer.'],
    ['match', set, 'client_id=c.*,client_software_name=apache-kafka-java'],
  ]);
  await describe('interval', 'cm-one', '5000');
  await describe('all keys', 'cm-two', '6000');
  await list('two', 2);
  await alter('only looked at', 'cm-three', [['interval.ms', set, '5000']], true);
  await alter('appended', 'cm-two', [['metrics', append, 'org.x']]);
  await alter('subtracted', 'cm-two', [['metrics', subtract, 'org.apache.kafka.producer.']]);
  await alter('interval appended to', 'cm-two', [['interval.ms', append, '1']]);
  await alter('interval again', 'cm-two', [['interval.ms', set, '7000']]);
  await describe('after that', 'cm-two', '7000');
  await alter('unknown key', 'cm-bad', [['no.such', set, '1']]);
  await alter('interval too short', 'cm-bad', [['interval.ms', set, '99']]);
  await alter('interval too long', 'cm-bad', [['interval.ms', set, '3600001']]);
  await alter('no interval', 'cm-bad', [['interval.ms', set, 'soon']]);
  await alter('no pattern', 'cm-bad', [['match', set, 'client_id']]);
  await alter('unknown match', 'cm-bad', [['match', set, 'colour=red']]);
  await alter('bad pattern', 'cm-bad', [['match', set, 'client_id=a(']]);
  await alter('empty pattern', 'cm-bad', [['match', set, 'client_id=']]);
  await alter('empty match', 'cm-empty', [['match', set, '']]);
  await alter('empty metrics', 'cm-empty', [['metrics', set, '']]);
  await alter('no name', '', [['interval.ms', set, '5000']]);
  await alter('of what is not there, removed', 'cm-none', [['metrics', remove, null]]);
  for (const name of ['cm-one', 'cm-two', 'cm-bad', 'cm-empty']) {
    await alter(`${name} taken back`, name, [
      ['interval.ms', remove, null],
      ['metrics', remove, null],
      ['match', remove, null],
    ]);
  }
  await list('none left', 0);
}

export const clientMetricsScenarios: readonly Scenario[] = [{ name: 'client metrics', run: subscriptions }];
