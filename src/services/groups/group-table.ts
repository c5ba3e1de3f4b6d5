/** The groups of one coordinator by id. A kind of group is a member of `Group`, told apart by `type`. */
import type { ClassicGroup } from './classic/classic-group.ts';
import type { ConsumerGroup } from './consumer/consumer-group.ts';

export type Group = ClassicGroup | ConsumerGroup;

/** Kafka's names of the kinds, as ListGroups gives them. */
export type GroupType = Group['type'];

export type GroupTable = Map<string, Group>;
