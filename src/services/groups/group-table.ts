/** The groups of one coordinator by id. Consumer groups (KIP-848) and share groups will be further kinds of `Group`. */
import type { ClassicGroup } from './classic/classic-group.ts';

export type Group = ClassicGroup;

/** Kafka's names of the kinds, as ListGroups gives them. */
export type GroupType = Group['type'];

export type GroupTable = Map<string, Group>;
