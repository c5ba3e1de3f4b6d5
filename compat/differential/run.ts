/**
 * Asks Odradek and real Kafka the same and compares what they answer, field by field:
 *
 *     node scripts/run-ts.mjs compat/differential/run.ts [--only WORD] [--kafka HOST:PORT] [--odradek HOST:PORT] [--trace FOLDER]
 *
 * Starts a fresh one of both unless told where one runs (Kafka needs Java and Maven). Prints each difference and ends with
 * `N passed, N failed`; a step is passed where nothing differs but what allowed.ts lists.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { startKafka, startOdradek } from '../lib/broker-process.ts';
import { compareSteps, type Difference } from './compare.ts';
import { Peer, pick } from './peer.ts';
import type { Plain } from './plain.ts';
import { scenarios } from './scenarios.ts';

const settings: Readonly<Record<string, string>> = {
  'node.id': '1',
  'num.partitions': '1',
  'group.initial.rebalance.delay.ms': '0',
  'group.min.session.timeout.ms': '100',
  'group.consumer.assignment.interval.ms': '0',
  'offsets.topic.num.partitions': '10',
  'transaction.state.log.num.partitions': '5',
  'auto.create.topics.enable': 'true',
  'delete.topic.enable': 'true',
  'default.replication.factor': '1',
  'min.insync.replicas': '1',
  // The records are of 2020.
  'log.retention.ms': '-1',
  'log.roll.ms': '9000000000000000',
};

const settingLines = Object.entries(settings).map(([name, value]) => `${name}=${value}`);

/** Kafka tells old librdkafkas of Produce from version 0, and closes the connection of who uses it (KIP-896). */
const leastVersions: Readonly<Record<string, number>> = { Produce: 3 };

interface Running {
  readonly address: string;
  stop(): Promise<void>;
}

const cacheDirectory =
  process.env['COMPAT_CACHE'] ??
  join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'odradek-compat');

function option(name: string): string | undefined {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
}

function running(address: string): Running {
  return { address, stop: async () => {} };
}

async function odradek(): Promise<Running> {
  const given = option('odradek');
  if (given !== undefined) return running(given);
  execFileSync(process.execPath, ['scripts/build.mjs', '--if-stale'], { stdio: 'inherit' });
  return startOdradek(settingLines);
}

async function kafka(): Promise<Running> {
  const given = option('kafka');
  if (given !== undefined) return running(given);
  return startKafka(cacheDirectory, settingLines);
}

async function introduce(peer: Peer): Promise<void> {
  const cluster = await peer.quiet('DescribeCluster', 0, {});
  peer.names.clusterId = pick(cluster, 'clusterId') as string;
  await peer.topic('differential-first');
  const metadata = await peer.quiet('Metadata', 12, { topics: [{ name: 'differential-first' }] });
  peer.names.leaderEpoch = pick(metadata, 'topics', 0, 'partitions', 0, 'leaderEpoch') as number;
}

function shown(value: Plain | undefined): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 400 ? `${text.slice(0, 400)}...` : text;
}

function print(step: string, differences: readonly Difference[]): void {
  process.stdout.write(`${step}\n`);
  for (const { path, ours, kafkas } of differences) {
    process.stdout.write(`    ${path}\n      ours  ${shown(ours)}\n      kafka ${shown(kafkas)}\n`);
  }
}

/** With --trace FOLDER every step is kept there, a line each, to look at. */
function trace({ title, steps }: Peer, scenario: string): void {
  const folder = option('trace');
  if (folder === undefined) return;
  mkdirSync(folder, { recursive: true });
  const lines = steps.map((step) => `${JSON.stringify({ scenario, ...step })}\n`);
  appendFileSync(join(folder, `${title}.jsonl`), lines.join(''));
}

async function main(): Promise<void> {
  const [ours, theirs] = await Promise.all([odradek(), kafka()]);
  const peers = [new Peer('odradek', ours.address), new Peer('kafka', theirs.address)] as const;
  let [passed, failed] = [0, 0];
  const letGo = new Map<string, number>();
  try {
    await Promise.all(peers.map(introduce));
    const [mine, kafkas] = await Promise.all(peers.map((peer) => peer.advertised()));
    const both = new Map<string, readonly number[]>();
    for (const [api, [min, max]] of mine!) {
      const [advertisedFrom, to] = kafkas!.get(api) ?? [0, -1];
      const from = Math.max(advertisedFrom, leastVersions[api] ?? 0);
      const versions: number[] = [];
      for (let version = Math.max(min, from); version <= Math.min(max, to); version++) versions.push(version);
      if (versions.length > 0) both.set(api, versions);
      if (to > max) process.stdout.write(`${api}: Kafka serves up to version ${to}, Odradek to ${max}\n`);
    }
    for (const peer of peers) peer.speak(both);
    const only = option('only');
    for (const { name, run } of scenarios) {
      if (only !== undefined && !name.includes(only)) continue;
      const started = Date.now();
      await Promise.all(
        peers.map(async (peer) => {
          peer.steps = [];
          try {
            await run(peer);
          } catch (error) {
            peer.breakOff(error);
          }
          peer.close();
        }),
      );
      for (const peer of peers) trace(peer, name);
      for (const { step, differences, allowed } of compareSteps(name, peers[0].steps, peers[1].steps)) {
        for (const why of allowed) letGo.set(why, (letGo.get(why) ?? 0) + 1);
        if (differences.length === 0) passed += 1;
        else {
          failed += 1;
          print(step, differences);
        }
      }
      if (process.argv.includes('--times')) process.stdout.write(`${name}: ${Date.now() - started} ms\n`);
    }
  } finally {
    await Promise.all([ours.stop(), theirs.stop()]);
  }
  for (const [why, count] of letGo) process.stdout.write(`allowed ${count}: ${why}\n`);
  process.stdout.write(`${passed} passed, ${failed} failed\n`);
  process.exitCode = failed > 0 ? 1 : 0;
}

await main();
