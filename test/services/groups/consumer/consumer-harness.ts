/** Members of the consumer protocol as a test plays them: each knows its epoch and what it owns, and says so in its heartbeats. */
import { expect } from 'vitest';
import { errorName } from '../../../../protocol/error-codes.ts';
import type {
  ConsumerGroupHeartbeatRequest,
  ConsumerGroupHeartbeatResponseInput,
} from '../../../../protocol/generated/68-consumer-group-heartbeat.ts';
import type { ConsumerGroup } from '../../../../src/services/groups/consumer/consumer-group.ts';
import type { GroupHarness } from '../group-machine-harness.ts';

export type HeartbeatOptions = Partial<ConsumerGroupHeartbeatRequest> & { readonly version?: number };

/** A heartbeat that says nothing but who it is of. */
export function heartbeat(h: GroupHarness, options: HeartbeatOptions): ConsumerGroupHeartbeatResponseInput {
  const { version, ...fields } = options;
  const request: ConsumerGroupHeartbeatRequest = {
    groupId: 'g',
    memberId: '',
    memberEpoch: 0,
    instanceId: null,
    rackId: null,
    rebalanceTimeoutMs: -1,
    subscribedTopicNames: null,
    subscribedTopicRegex: null,
    serverAssignor: null,
    topicPartitions: null,
    ...fields,
  };
  return h.run((effects) =>
    h.machine.consumer.heartbeat(
      request,
      { clientId: 'client', clientHost: '/127.0.0.1', mustKnowMemberId: (version ?? 1) >= 1 },
      effects,
    ),
  );
}

export class Consumer {
  readonly h: GroupHarness;
  readonly memberId: string;
  readonly instanceId: string | null;
  epoch = 0;
  /** What it reads, as 'topic id:partition'. */
  owned = new Set<string>();
  #told: Set<string> | undefined;
  names: readonly string[] | null;
  regex: string | null = null;
  assignor: string | null = null;
  groupId = 'g';

  constructor(
    h: GroupHarness,
    memberId: string,
    names: readonly string[] | null = ['orders'],
    instanceId: string | null = null,
  ) {
    this.h = h;
    this.memberId = memberId;
    this.names = names;
    this.instanceId = instanceId;
  }

  /** The group, which must be a consumer group. */
  get group(): ConsumerGroup {
    return this.h.machine.group(this.groupId) as ConsumerGroup;
  }

  join(): string {
    this.epoch = 0;
    this.owned = new Set();
    this.#told = undefined;
    return this.send({
      rebalanceTimeoutMs: 60_000,
      subscribedTopicNames: this.names === null ? null : [...this.names],
      subscribedTopicRegex: this.regex,
      serverAssignor: this.assignor,
      topicPartitions: [],
    });
  }

  /** Does what it was told before, then says what it owns. Returns the error's name. */
  beat(options: HeartbeatOptions = {}): string {
    if (this.#told !== undefined) this.owned = this.#told;
    return this.send({ topicPartitions: this.ownedOnWire(), ...options });
  }

  /** Says nothing of what it owns, and goes on as it was. */
  beatIdle(): string {
    return this.send({});
  }

  subscribe(names: readonly string[]): string {
    this.names = names;
    return this.beat({ subscribedTopicNames: [...names], rebalanceTimeoutMs: 60_000 });
  }

  leave(epoch = -1): string {
    const { errorCode } = heartbeat(this.h, {
      groupId: this.groupId,
      memberId: this.memberId,
      instanceId: this.instanceId,
      memberEpoch: epoch,
    });
    return errorName(errorCode);
  }

  ownedOnWire(): { topicId: string; partitions: number[] }[] {
    const topics = new Map<string, number[]>();
    for (const each of this.owned) {
      const [topicId, partition] = each.split(':') as [string, string];
      topics.set(topicId, [...(topics.get(topicId) ?? []), Number(partition)]);
    }
    return [...topics].map(([topicId, partitions]) => ({ topicId, partitions }));
  }

  send(options: HeartbeatOptions): string {
    const answer = heartbeat(this.h, {
      groupId: this.groupId,
      memberId: this.memberId,
      instanceId: this.instanceId,
      memberEpoch: this.epoch,
      ...options,
    });
    if (answer.errorCode !== 0) return errorName(answer.errorCode);
    expect(answer.memberId).toBe(this.memberId);
    this.epoch = answer.memberEpoch;
    if (answer.assignment !== null && answer.assignment !== undefined) {
      this.#told = new Set(
        answer.assignment.topicPartitions.flatMap(({ topicId, partitions }) =>
          partitions.map((partition) => `${topicId}:${partition}`),
        ),
      );
      // New ones are read at once; old ones until the next heartbeat says that they were given back.
      for (const each of this.#told) this.owned.add(each);
    }
    return 'NONE';
  }

  /** What it owns now, in order. */
  get partitions(): string[] {
    const told = this.#told ?? this.owned;
    return [...told]
      .map((each) => `${this.h.topics.byId(each.split(':')[0]!)?.name}-${each.split(':')[1]}`)
      .sort();
  }
}

/** Heartbeats of all until nobody's epoch or assignment changes. */
export function settle(consumers: readonly Consumer[]): void {
  for (let round = 0; round < 20; round++) {
    const before = JSON.stringify(consumers.map(({ epoch, partitions }) => [epoch, partitions]));
    for (const consumer of consumers) expect(consumer.beat()).toBe('NONE');
    if (JSON.stringify(consumers.map(({ epoch, partitions }) => [epoch, partitions])) === before && round > 0)
      return;
  }
  expect.unreachable('the group does not settle');
}
