/** Commits growing offsets for a group, one after the other, and knows between which two the broker's answer must lie. */
import { errorCodes, errorName } from '../../protocol/error-codes.ts';
import { offsetCommitRequest, offsetCommitResponse } from '../../protocol/generated/08-offset-commit.ts';
import { offsetFetchRequest, offsetFetchResponse } from '../../protocol/generated/09-offset-fetch.ts';
import {
  findCoordinatorRequest,
  findCoordinatorResponse,
} from '../../protocol/generated/10-find-coordinator.ts';
import { WireClient } from './wire-client.ts';

const notReady = new Set<number>([
  errorCodes.COORDINATOR_LOAD_IN_PROGRESS,
  errorCodes.COORDINATOR_NOT_AVAILABLE,
  errorCodes.NOT_COORDINATOR,
]);
/** A flush on a busy machine may take seconds, and what was loaded is told only when it is durable. */
const readyWithinMs = 60_000;
/** After this long the machine and the broker are looked at, for the report. */
const longMs = 5_000;

export class OffsetCommitter {
  readonly failures: string[] = [];
  acked = -1;
  private sent = -1;
  private readonly group: string;
  private readonly topic: string;
  private readonly whenLong: (group: string) => void;

  /** `whenLong`: called once for every answer that the coordinator keeps putting off. */
  constructor(group: string, topic: string, whenLong: (group: string) => void = () => {}) {
    this.group = group;
    this.topic = topic;
    this.whenLong = whenLong;
  }

  /** Looks whether what was committed is still there, then commits until the connection goes or `isStopping` says so. */
  async run(port: number, isStopping: () => boolean): Promise<void> {
    let client: WireClient;
    try {
      client = await WireClient.connect(port, this.group);
    } catch {
      return;
    }
    try {
      await this.check(client);
      while (!isStopping() && this.failures.length === 0) {
        await this.commit(client);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    } catch (error) {
      if (!(error instanceof Error) || error.message !== 'the connection is gone') throw error;
    } finally {
      client.close();
    }
  }

  /** The committed offset must be the last one acknowledged, or one that was on its way. */
  async check(client: WireClient): Promise<void> {
    const committed = await this.whenReady(async () => {
      const found = await client.request(findCoordinatorRequest, findCoordinatorResponse, 2, {
        key: this.group,
        keyType: 0,
      });
      if (found.errorCode !== errorCodes.NONE) return { errorCode: found.errorCode, offset: -1 };
      const answer = await client.request(offsetFetchRequest, offsetFetchResponse, 5, {
        groupId: this.group,
        topics: [{ name: this.topic, partitionIndexes: [0] }],
      });
      const partition = answer.topics[0]?.partitions[0];
      return {
        errorCode: answer.errorCode || (partition?.errorCode ?? errorCodes.UNKNOWN_SERVER_ERROR),
        offset: Number(partition?.committedOffset),
      };
    });
    if (committed === undefined) return;
    if (committed < this.acked || committed > this.sent) {
      this.failures.push(
        `${this.group}: offset ${committed} is committed; ${this.acked} was acknowledged, ${this.sent} sent`,
      );
    }
  }

  private async commit(client: WireClient): Promise<void> {
    const offset = ++this.sent;
    const done = await this.whenReady(async () => {
      const answer = await client.request(offsetCommitRequest, offsetCommitResponse, 7, {
        groupId: this.group,
        generationIdOrMemberEpoch: -1,
        memberId: '',
        topics: [
          {
            name: this.topic,
            partitions: [{ partitionIndex: 0, committedOffset: offset, committedMetadata: '' }],
          },
        ],
      });
      return { errorCode: answer.topics[0]!.partitions[0]!.errorCode, offset };
    });
    if (done !== undefined) this.acked = offset;
  }

  private async whenReady(
    ask: () => Promise<{ errorCode: number; offset: number }>,
  ): Promise<number | undefined> {
    const startedMs = performance.now();
    const untilMs = startedMs + readyWithinMs;
    let isReported = false;
    for (;;) {
      const { errorCode, offset } = await ask();
      if (errorCode === errorCodes.NONE) return offset;
      if (!notReady.has(errorCode) || performance.now() > untilMs) {
        this.failures.push(`${this.group}: the coordinator answers ${errorName(errorCode)}`);
        return undefined;
      }
      if (!isReported && performance.now() > startedMs + longMs) {
        isReported = true;
        this.whenLong(this.group);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
