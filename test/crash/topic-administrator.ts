/** Creates and deletes topics, one after the other, and looks after every start which of them are there. */
import { errorCodes, errorName } from '../../protocol/error-codes.ts';
import { metadataRequest, metadataResponse } from '../../protocol/generated/03-metadata.ts';
import { createTopicsRequest, createTopicsResponse } from '../../protocol/generated/19-create-topics.ts';
import { deleteTopicsRequest, deleteTopicsResponse } from '../../protocol/generated/20-delete-topics.ts';
import { WireClient } from './wire-client.ts';

type Fate = 'asked for' | 'there' | 'asked to go' | 'gone';

const topicsKept = 8;

export class TopicAdministrator {
  readonly failures: string[] = [];
  acked = 0;
  private readonly topics = new Map<string, Fate>();
  private nextNumber = 0;

  /** Looks whether the topics are as was acknowledged, then creates and deletes until the connection goes or `isStopping` says so. */
  async run(port: number, isStopping: () => boolean): Promise<void> {
    let client: WireClient;
    try {
      client = await WireClient.connect(port, 'administrator');
    } catch {
      return;
    }
    try {
      await this.check(client);
      while (!isStopping() && this.failures.length === 0) {
        const there = [...this.topics].filter(([, fate]) => fate === 'there').map(([name]) => name);
        if (there.length > topicsKept) await this.delete(client, there[0]!);
        else await this.create(client, `made-${this.nextNumber++}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    } catch (error) {
      if (!(error instanceof Error) || error.message !== 'the connection is gone') throw error;
    } finally {
      client.close();
    }
  }

  private async check(client: WireClient): Promise<void> {
    const answer = await client.request(metadataRequest, metadataResponse, 5, { topics: null });
    const found = new Set(answer.topics.map(({ name }) => name));
    for (const [name, fate] of this.topics) {
      const isThere = found.has(name);
      if (fate === 'there' && !isThere) this.failures.push(`topic ${name} was created and is not there`);
      if (fate === 'gone' && isThere) this.failures.push(`topic ${name} was deleted and is there`);
      if (isThere) this.topics.set(name, 'there');
      else this.topics.delete(name);
    }
    for (const name of found) {
      if (name?.startsWith('made-') && !this.topics.has(name))
        this.failures.push(`topic ${name} is there again`);
    }
  }

  private async create(client: WireClient, name: string): Promise<void> {
    this.topics.set(name, 'asked for');
    const answer = await client.request(createTopicsRequest, createTopicsResponse, 4, {
      topics: [{ name, numPartitions: 2, replicationFactor: 1, assignments: [], configs: [] }],
      timeoutMs: 10_000,
    });
    this.note(name, 'there', answer.topics[0]!.errorCode);
  }

  private async delete(client: WireClient, name: string): Promise<void> {
    this.topics.set(name, 'asked to go');
    const answer = await client.request(deleteTopicsRequest, deleteTopicsResponse, 3, {
      topicNames: [name],
      timeoutMs: 10_000,
    });
    this.note(name, 'gone', answer.responses[0]!.errorCode);
  }

  /** A topic that was made or unmade under a kill counts by what is there afterwards; here the broker answered. */
  private note(name: string, fate: Fate, errorCode: number): void {
    if (errorCode === errorCodes.NONE) {
      this.topics.set(name, fate);
      this.acked++;
    } else if (errorCode !== errorCodes.KAFKA_STORAGE_ERROR) {
      this.failures.push(`topic ${name} was answered ${errorName(errorCode)}`);
    }
  }
}
