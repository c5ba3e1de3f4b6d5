/** The topics in which coordinators keep their state: their names and what they are created with, as Kafka creates them. */
import type { BrokerSettings } from '../configuration/broker-config.ts';
import type { InternalTopicName } from './topic.ts';

const internalNames: ReadonlySet<string> = new Set<InternalTopicName>([
  '__consumer_offsets',
  '__transaction_state',
  '__share_group_state',
]);

export function isInternalTopic(name: string): name is InternalTopicName {
  return internalNames.has(name);
}

export interface InternalTopicShape {
  readonly partitions: number;
  readonly overrides: ReadonlyMap<string, string>;
}

export function internalTopicShape(name: InternalTopicName, config: BrokerSettings): InternalTopicShape {
  switch (name) {
    case '__consumer_offsets':
      return {
        partitions: config.int('offsets.topic.num.partitions'),
        overrides: new Map([
          ['cleanup.policy', 'compact'],
          ['compression.type', 'producer'],
          ['segment.bytes', String(config.int('offsets.topic.segment.bytes'))],
        ]),
      };
    case '__transaction_state':
      return {
        partitions: config.int('transaction.state.log.num.partitions'),
        overrides: new Map([
          ['cleanup.policy', 'compact'],
          ['compression.type', 'uncompressed'],
          ['min.insync.replicas', '1'],
          ['segment.bytes', String(config.int('transaction.state.log.segment.bytes'))],
          ['unclean.leader.election.enable', 'false'],
        ]),
      };
    case '__share_group_state':
      return {
        partitions: config.int('share.coordinator.state.topic.num.partitions'),
        overrides: new Map([
          ['cleanup.policy', 'delete'],
          ['compression.type', 'producer'],
          ['min.insync.replicas', '1'],
          ['retention.ms', '-1'],
          ['segment.bytes', String(config.int('share.coordinator.state.topic.segment.bytes'))],
        ]),
      };
  }
}
