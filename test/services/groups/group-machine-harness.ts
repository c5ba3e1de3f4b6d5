/**
 * A group state machine without a runtime: commands are run one by one, what they append and answer is collected, a virtual clock
 * fires their timers. Answers are there as soon as the command returns; durability is the runtime's business.
 */
import { expect } from 'vitest';
import { type ErrorCode, errorName } from '../../../protocol/error-codes.ts';
import type { JoinGroupRequest, JoinGroupResponseInput } from '../../../protocol/generated/11-join-group.ts';
import type { SyncGroupResponseInput } from '../../../protocol/generated/14-sync-group.ts';
import { consumerProtocolSubscription } from '../../../protocol/generated/data-consumer-protocol-subscription.ts';
import { encodeMessage } from '../../../protocol/message-codec.ts';
import type {
  Effects,
  MachineTimers,
  Ticket,
  TimedCommand,
} from '../../../src/services/coordinator/coordinator-machine.ts';
import { type GroupRecord, groupRecordFormat } from '../../../src/services/groups/group-records.ts';
import type { GroupSettings } from '../../../src/services/groups/group-settings.ts';
import { GroupStateMachine } from '../../../src/services/groups/group-state-machine.ts';
import type { CommittedPartition, OffsetCommit } from '../../../src/services/groups/offset-commits.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { FakeTopics } from './fake-topics.ts';

export const minuteMs = 60_000;
export const topicId = 'dG9waWMtb3JkZXJzLTAwMA';

export const defaultSettings: GroupSettings = {
  minSessionTimeoutMs: 6_000,
  maxSessionTimeoutMs: 1_800_000,
  initialRebalanceDelayMs: 3_000,
  maxGroupSize: 2147483647,
  offsetMetadataMaxBytes: 4096,
  offsetsRetentionMs: 7 * 24 * 60 * minuteMs,
  offsetsRetentionCheckIntervalMs: 10 * minuteMs,
  consumer: {
    sessionTimeoutMs: () => 45_000,
    heartbeatIntervalMs: () => 5_000,
    assignmentIntervalMs: () => 0,
    maxSize: 2147483647,
    assignors: ['uniform', 'range'],
    migrationPolicy: 'bidirectional',
  },
};

/** A request that was sent to the machine, and what came back, if it did. */
export class Asked<Answer> implements Ticket<Answer> {
  readonly fail: (code: ErrorCode) => Answer;
  answers: Answer[] = [];

  constructor(fail: (code: ErrorCode) => Answer) {
    this.fail = fail;
  }

  get isAnswered(): boolean {
    return this.answers.length > 0;
  }

  get answer(): Answer {
    expect(this.answers).toHaveLength(1);
    return this.answers[0]!;
  }
}

export interface JoinOptions {
  readonly groupId?: string;
  readonly memberId?: string;
  readonly instanceId?: string | null;
  readonly clientId?: string;
  readonly version?: number;
  readonly sessionTimeoutMs?: number;
  readonly rebalanceTimeoutMs?: number;
  readonly protocolType?: string;
  /** Names, or names with metadata. */
  readonly protocols?: readonly (string | readonly [string, Buffer])[];
}

export class GroupHarness {
  readonly clock = new VirtualClock();
  readonly settings: GroupSettings;
  readonly topics = new FakeTopics();
  machine: GroupStateMachine;
  /** All that was ever appended. */
  readonly log: GroupRecord[] = [];
  #taken = 0;
  #nextUuid = 1;
  #life = 0;

  constructor(settings: Partial<GroupSettings> = {}) {
    this.settings = { ...defaultSettings, ...settings };
    this.topics.set('orders', 4, topicId);
    this.machine = this.#newMachine();
  }

  /** What was appended since this was last asked. */
  takeRecords(): GroupRecord[] {
    const taken = this.log.slice(this.#taken);
    this.#taken = this.log.length;
    return taken;
  }

  run<Answer>(command: (effects: Effects<GroupRecord>) => Answer): Answer {
    return command({
      append: (record) => {
        // As the log would give it back.
        const { key, value } = groupRecordFormat.encode(record);
        expect(groupRecordFormat.decode(key, value)).toBeDefined();
        this.log.push(record);
        this.machine.replay(record);
      },
      reply: (ticket, answer) => {
        const asked = ticket as unknown as Asked<unknown>;
        expect(asked.answers).toHaveLength(0);
        asked.answers.push(answer);
      },
    });
  }

  /** Throws memory away and reads the log, or the snapshot of the state, through their bytes. */
  reload(from: 'log' | 'snapshot' = 'log'): void {
    const records = from === 'log' ? this.log : [...this.machine.snapshot()];
    const encoded = records.map((record) => groupRecordFormat.encode(record));
    this.#life++;
    this.machine = this.#newMachine();
    for (const { key, value } of encoded) this.machine.replay(groupRecordFormat.decode(key, value)!);
    this.run((effects) => this.machine.onLoaded(effects));
  }

  #newMachine(): GroupStateMachine {
    const life = this.#life;
    const timers: MachineTimers<GroupRecord> = {
      nowMs: () => this.clock.nowMs(),
      monotonicMs: () => this.clock.monotonicMs(),
      after: (delayMs: number, command: TimedCommand<GroupRecord>) =>
        this.clock.after(delayMs, () => {
          if (life === this.#life) this.run(command);
        }),
    };
    return new GroupStateMachine({
      settings: this.settings,
      timers,
      newUuid: () => `uuid${this.#nextUuid++}`,
      topics: this.topics,
    });
  }

  // ----- requests

  join(options: JoinOptions = {}): Asked<JoinGroupResponseInput> {
    const version = options.version ?? 9;
    const request: JoinGroupRequest = {
      groupId: options.groupId ?? 'g',
      sessionTimeoutMs: options.sessionTimeoutMs ?? 10_000,
      rebalanceTimeoutMs: version === 0 ? -1 : (options.rebalanceTimeoutMs ?? 60_000),
      memberId: options.memberId ?? '',
      groupInstanceId: options.instanceId ?? null,
      protocolType: options.protocolType ?? 'consumer',
      protocols: (options.protocols ?? ['range']).map((protocol) =>
        typeof protocol === 'string'
          ? { name: protocol, metadata: subscription('orders') }
          : { name: protocol[0], metadata: protocol[1] },
      ),
      reason: null,
    };
    const asked = new Asked<JoinGroupResponseInput>((errorCode) => ({
      errorCode,
      protocolName: null,
      leader: '',
      memberId: '',
      members: [],
    }));
    this.run((effects) =>
      this.machine.join(
        request,
        {
          clientId: options.clientId ?? 'client',
          clientHost: '/127.0.0.1',
          mustKnowMemberId: version >= 4,
          canSkipAssignment: version >= 9,
        },
        asked,
        effects,
      ),
    );
    return asked;
  }

  sync(
    memberId: string,
    generationId: number,
    assignments: Readonly<Record<string, string>> = {},
    options: {
      readonly groupId?: string;
      readonly instanceId?: string | null;
      readonly protocolType?: string | null;
      readonly protocolName?: string | null;
    } = {},
  ): Asked<SyncGroupResponseInput> {
    const asked = new Asked<SyncGroupResponseInput>((errorCode) => ({
      errorCode,
      assignment: Buffer.alloc(0),
    }));
    this.run((effects) =>
      this.machine.sync(
        {
          groupId: options.groupId ?? 'g',
          generationId,
          memberId,
          groupInstanceId: options.instanceId ?? null,
          protocolType: options.protocolType ?? null,
          protocolName: options.protocolName ?? null,
          assignments: Object.entries(assignments).map(([id, text]) => ({
            memberId: id,
            assignment: Buffer.from(text),
          })),
        },
        asked,
        effects,
      ),
    );
    return asked;
  }

  /** The error's name. */
  heartbeat(memberId: string, generationId: number, instanceId: string | null = null, groupId = 'g'): string {
    return errorName(
      this.machine.heartbeat({ groupId, generationId, memberId, groupInstanceId: instanceId }),
    );
  }

  /** The errors' names by member; undefined where there is no such group. */
  leave(
    ...members: readonly (string | { memberId: string; groupInstanceId: string | null })[]
  ): string[] | undefined {
    return this.run((effects) =>
      this.machine.leave(
        'g',
        members.map((member) =>
          typeof member === 'string' ? { memberId: member, groupInstanceId: null } : member,
        ),
        effects,
      ),
    )?.map((left) => errorName(left.errorCode));
  }

  /** The error's name: the one for all, or that of the first partition. */
  commit(options: Partial<OffsetCommit> & { readonly partition?: Partial<CommittedPartition> } = {}): string {
    const { partition, ...rest } = options;
    const answer = this.run((effects) =>
      this.machine.offsetCommits.commit(
        {
          groupId: 'g',
          memberId: '',
          groupInstanceId: null,
          generationId: -1,
          knowsMemberEpochs: true,
          retentionMs: -1,
          topics: [
            {
              name: 'orders',
              topicId,
              partitions: [
                {
                  partitionIndex: 0,
                  offset: 1,
                  leaderEpoch: -1,
                  metadata: '',
                  commitTimestampMs: -1,
                  ...partition,
                },
              ],
            },
          ],
          ...rest,
        },
        effects,
      ),
    );
    return errorName('topics' in answer ? answer.topics[0]![0]! : answer.errorCode);
  }

  /** The committed offset, -1 for none. */
  committed(partitionIndex = 0, groupId = 'g', name = 'orders'): unknown {
    const id = this.topics.byName(name)?.id ?? 'AAAAAAAAAAAAAAAAAAAAAA';
    return this.machine.offsetCommits.fetch(groupId, [
      { name, topicId: id, partitionIndexes: [partitionIndex] },
    ])[0]!.partitions[0]!.offset;
  }

  expire(): number {
    return this.run((effects) => this.machine.offsetCommits.expire(effects, this.clock.nowMs()));
  }

  state(groupId = 'g'): string {
    return this.machine.describe(groupId).groupState;
  }

  // ----- shortcuts

  /** A new member through both rounds of JoinGroup. */
  joinWithId(options: JoinOptions = {}): {
    readonly memberId: string;
    readonly join: Asked<JoinGroupResponseInput>;
  } {
    const { memberId, errorCode } = this.join(options).answer;
    expect(errorName(errorCode)).toBe('MEMBER_ID_REQUIRED');
    return { memberId, join: this.join({ ...options, memberId }) };
  }

  /** A stable group of so many dynamic members in generation 1; the first leads. */
  async stableGroup(count: number, options: JoinOptions = {}): Promise<string[]> {
    const members = Array.from({ length: count }, () => this.joinWithId(options));
    await this.clock.advance(this.settings.initialRebalanceDelayMs * 2);
    const ids = members.map((member) => member.memberId);
    for (const { join } of members) expect(join.answer.generationId).toBe(1);
    const syncs = ids.map((id, index) =>
      this.sync(id, 1, index === 0 ? Object.fromEntries(ids.map((each) => [each, `of ${each}`])) : {}),
    );
    for (const sync of syncs) expect(sync.answer.errorCode).toBe(0);
    expect(this.state()).toBe('Stable');
    this.takeRecords();
    return ids;
  }
}

/** What a consumer says of itself. */
export function subscription(...topics: string[]): Buffer {
  return Buffer.concat([
    Buffer.from([0, 0]),
    ...encodeMessage(consumerProtocolSubscription, { topics, userData: null }, 0),
  ]);
}
