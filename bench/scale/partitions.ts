/**
 * `npm run bench -- partitions [--partitions N] [--topics N]`: so many partitions, in a tenth as many topics of one partition and ten
 * large ones unless said otherwise: created, written to, all described; then the broker is killed (-9) and started, and stopped
 * and started. How long each takes, how long the event loop was kept from everything else, and memory.
 */
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import { produceRequest, produceResponse } from '../../protocol/generated/00-produce.ts';
import { metadataRequest, metadataResponse } from '../../protocol/generated/03-metadata.ts';
import { createTopicsRequest, createTopicsResponse } from '../../protocol/generated/19-create-topics.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import { type Figures, keepFigures, numberOption } from './figures.ts';
import { MeasuredBroker } from './measured-broker.ts';

const largeTopics = 10;
const partitionsARequest = 1000;

export async function partitionsAtScale(args: readonly string[]): Promise<void> {
  const partitions = numberOption(args, 'partitions', 100_000);
  const smallTopics = numberOption(args, 'topics', partitions / 10);
  const partitionsALarge = Math.floor((partitions - smallTopics) / largeTopics);
  execFileSync(process.execPath, [resolve('scripts/build.mjs'), '--if-stale'], { stdio: 'inherit' });
  const broker = new MeasuredBroker();
  const figures: Figures = { partitions, topics: smallTopics + largeTopics };
  const timed = async (name: string, action: () => Promise<unknown>): Promise<void> => {
    await broker.longestBlockMs();
    const startedMs = performance.now();
    await action();
    figures[`${name}_ms`] = performance.now() - startedMs;
    figures[`${name}_longest_block_ms`] = await broker.longestBlockMs();
  };
  const describeAll = async (): Promise<void> => {
    const client = await broker.connect();
    const { topics } = await client.request(metadataRequest, metadataResponse, 9, { topics: null });
    const described = topics.reduce((sum, topic) => sum + topic.partitions.length, 0);
    if (described < partitions) throw new Error(`${described} partitions are described, not ${partitions}`);
    client.close();
  };
  const create = async (): Promise<void> => {
    const client = await broker.connect();
    const wanted = [
      ...Array.from({ length: largeTopics }, (_, at) => ({
        name: `large-${at}`,
        numPartitions: partitionsALarge,
      })),
      ...Array.from({ length: smallTopics }, (_, at) => ({ name: `small-${at}`, numPartitions: 1 })),
    ];
    for (let from = 0; from < wanted.length; from += 2000) {
      const { topics } = await client.request(createTopicsRequest, createTopicsResponse, 4, {
        topics: wanted
          .slice(from, from + 2000)
          .map((topic) => ({ ...topic, replicationFactor: 1, assignments: [], configs: [] })),
        timeoutMs: 60_000,
      });
      for (const { errorCode, errorMessage } of topics) {
        if (errorCode !== 0) throw new Error(`error ${errorCode}: ${errorMessage}`);
      }
    }
    client.close();
  };
  const record = buildRecordBatch([{ timestamp: Date.now(), value: Buffer.alloc(100, 'x') }]);
  const write = async (): Promise<void> => {
    const client = await broker.connect();
    const send = async (names: readonly string[], from: number, until: number): Promise<void> => {
      const answer = await client.request(produceRequest, produceResponse, 8, {
        acks: -1,
        timeoutMs: 60_000,
        topicData: names.map((name) => ({
          name,
          partitionData: Array.from({ length: until - from }, (_, at) => ({
            index: from + at,
            records: record,
          })),
        })),
      });
      for (const { partitionResponses } of answer.responses) {
        for (const { errorCode } of partitionResponses) {
          if (errorCode !== 0) throw new Error(`error ${errorCode}`);
        }
      }
    };
    for (let topic = 0; topic < largeTopics; topic++) {
      for (let from = 0; from < partitionsALarge; from += partitionsARequest) {
        await send([`large-${topic}`], from, Math.min(partitionsALarge, from + partitionsARequest));
      }
    }
    for (let from = 0; from < smallTopics; from += partitionsARequest) {
      const count = Math.min(partitionsARequest, smallTopics - from);
      await send(
        Array.from({ length: count }, (_, at) => `small-${from + at}`),
        0,
        1,
      );
    }
    client.close();
  };
  try {
    await broker.start();
    await timed('create', create);
    await timed('write_to_all', write);
    await timed('describe_all', describeAll);
    // Until an index table was cut off, with rows of every queue.
    await timed('write_to_all_four_times', async () => {
      for (let round = 0; round < 4; round++) await write();
    });
    figures['loaded_rss_mib'] = broker.residentMib;
    await broker.end('SIGKILL');
    figures['ready_after_kill_ms'] = await broker.start();
    figures['cpu_until_ready_after_kill_ms'] = broker.cpuMs;
    figures['start_after_kill_longest_block_ms'] = await broker.longestBlockMs();
    figures['restarted_rss_mib'] = broker.residentMib;
    await timed('first_describe_all_after_kill', describeAll);
    await timed('write_to_all_after_kill', write);
    await timed('stop', async () => {});
    const stoppedMs = performance.now();
    await broker.end('SIGTERM');
    figures['stop_ms'] = performance.now() - stoppedMs;
    delete figures['stop_longest_block_ms'];
    figures['ready_after_stop_ms'] = await broker.start();
    await timed('first_describe_all_after_stop', describeAll);
    figures['idle_rss_mib'] = broker.residentMib;
    keepFigures('partitions-at-scale', figures);
  } finally {
    await broker.remove();
  }
}
