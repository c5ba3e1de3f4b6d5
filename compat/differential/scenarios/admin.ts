/** ElectLeaders, partition reassignments, DescribeQuorum, log directories, ApiVersions. */
import { type Peer, pick } from '../peer.ts';
import type { Scenario } from '../scenario.ts';

async function electLeaders(peer: Peer): Promise<void> {
  await peer.topic('el-one', 2);
  for (const version of peer.versions('ElectLeaders')) {
    const ask = (label: string, electionType: number, topicPartitions: unknown) =>
      peer.send(label, 'ElectLeaders', version, { electionType, topicPartitions, timeoutMs: 5_000 });
    const of = (topic: string, ...partitions: number[]) => ({ topic, partitions });
    for (const type of version === 0 ? [0] : [0, 1]) {
      await ask(`type ${type}, one`, type, [of('el-one', 0)]);
      await ask(`type ${type}, two`, type, [of('el-one', 0, 1)]);
      await ask(`type ${type}, unknown partition`, type, [of('el-one', 0, 7)]);
      await ask(`type ${type}, negative partition`, type, [of('el-one', -1)]);
      await ask(`type ${type}, unknown topic`, type, [of('el-none', 0)]);
      await ask(`type ${type}, bad topic`, type, [of('a b', 0)]);
      await ask(`type ${type}, one twice`, type, [of('el-one', 0, 0)]);
      await ask(`type ${type}, no partitions`, type, [of('el-one')]);
      await ask(`type ${type}, nothing`, type, []);
      const all = await peer.quiet('ElectLeaders', version, {
        electionType: type,
        topicPartitions: null,
        timeoutMs: 5_000,
      });
      const { replicaElectionResults: results, errorCode } = all as {
        replicaElectionResults: { partitionResult: unknown[] }[];
        errorCode: number;
      };
      const rows = results.map((result) => result.partitionResult.length);
      peer.note(`v${version} type ${type}, all`, {
        errorCode,
        rows: rows.reduce((sum, count) => sum + count, 0),
        empty: rows.length > 0,
      });
    }
    if (version > 0) await ask('type 5', 5, [of('el-one', 0)]);
  }
}

async function reassignments(peer: Peer): Promise<void> {
  await peer.topic('ra-one', 2);
  for (const version of peer.versions('AlterPartitionReassignments')) {
    const ask = (label: string, topics: unknown, more: object = {}) =>
      peer.send(label, 'AlterPartitionReassignments', version, { timeoutMs: 5_000, topics, ...more });
    const one = (name: string, partitionIndex: number, replicas: readonly number[] | null) => [
      { name, partitions: [{ partitionIndex, replicas }] },
    ];
    await ask('to where it is', one('ra-one', 0, [1]));
    await ask('to a stranger', one('ra-one', 0, [2]));
    await ask('to both', one('ra-one', 0, [1, 2]));
    await ask('to nobody', one('ra-one', 0, []));
    await ask('twice to one', one('ra-one', 0, [1, 1]));
    await ask('to -1', one('ra-one', 0, [-1]));
    await ask('cancelled', one('ra-one', 0, null));
    await ask('unknown partition', one('ra-one', 9, [1]));
    await ask('unknown partition cancelled', one('ra-one', 9, null));
    await ask('unknown topic', one('ra-none', 0, [1]));
    await ask('unknown topic cancelled', one('ra-none', 0, null));
    await ask('two', [...one('ra-one', 0, [1]), ...one('ra-none', 0, [1])]);
    await ask('no partitions', [{ name: 'ra-one', partitions: [] }]);
    await ask('nothing', []);
    if (version >= 1) {
      await ask('to where it is, keeping the factor', one('ra-one', 0, [1]), {
        allowReplicationFactorChange: false,
      });
      await ask('to both, keeping the factor', one('ra-one', 0, [1, 2]), {
        allowReplicationFactorChange: false,
      });
    }
  }
  for (const version of peer.versions('ListPartitionReassignments')) {
    const ask = (label: string, topics: unknown) =>
      peer.send(label, 'ListPartitionReassignments', version, { timeoutMs: 5_000, topics });
    await ask('all', null);
    await ask('one', [{ name: 'ra-one', partitionIndexes: [0, 1] }]);
    await ask('unknown partition', [{ name: 'ra-one', partitionIndexes: [7] }]);
    await ask('unknown topic', [{ name: 'ra-none', partitionIndexes: [0] }]);
    await ask('nothing', []);
  }
}

async function quorum(peer: Peer): Promise<void> {
  for (const version of peer.versions('DescribeQuorum')) {
    const ask = (label: string, topics: unknown) => peer.send(label, 'DescribeQuorum', version, { topics });
    const metadata = { topicName: '__cluster_metadata', partitions: [{ partitionIndex: 0 }] };
    await ask('metadata', [metadata]);
    await ask('another partition', [
      { topicName: '__cluster_metadata', partitions: [{ partitionIndex: 1 }] },
    ]);
    await ask('two partitions', [
      { topicName: '__cluster_metadata', partitions: [{ partitionIndex: 0 }, { partitionIndex: 1 }] },
    ]);
    await ask('another topic', [{ topicName: 'dq-none', partitions: [{ partitionIndex: 0 }] }]);
    await ask('two topics', [metadata, { topicName: 'dq-none', partitions: [{ partitionIndex: 0 }] }]);
    await ask('nothing', []);
  }
}

async function logDirs(peer: Peer): Promise<void> {
  await peer.topic('ld-one', 2);
  const described = await peer.quiet('DescribeLogDirs', 4, { topics: null });
  const path = pick(described, 'results', 0, 'logDir') as string;
  peer.names.name(path, 'log dir', 'path');
  for (const version of peer.versions('DescribeLogDirs')) {
    const ask = (label: string, topics: unknown) => peer.send(label, 'DescribeLogDirs', version, { topics });
    await ask('one', [{ topic: 'ld-one', partitions: [0, 1] }]);
    await ask('unknown partition', [{ topic: 'ld-one', partitions: [7] }]);
    await ask('unknown topic', [{ topic: 'ld-none', partitions: [0] }]);
    await ask('nothing', []);
  }
  for (const version of peer.versions('AlterReplicaLogDirs')) {
    const ask = (label: string, to: string, name: string, partitions: readonly number[]) =>
      peer.send(label, 'AlterReplicaLogDirs', version, {
        dirs: [{ path: to, topics: [{ name, partitions }] }],
      });
    await ask('to where it is', path, 'ld-one', [0, 1]);
    await ask('elsewhere', '/no/such/directory', 'ld-one', [0, 1]);
    await ask('to a relative path', 'data', 'ld-one', [0]);
    await ask('to no path', '', 'ld-one', [0]);
    await ask('with a slash at the end', `${path}/`, 'ld-one', [0]);
    await ask('unknown partition', path, 'ld-one', [0, 7]);
    await ask('unknown topic', path, 'ld-none', [0]);
    await ask('unknown topic elsewhere', '/no/such/directory', 'ld-none', [0]);
    await ask('no partitions', path, 'ld-one', []);
    await peer.send('nothing', 'AlterReplicaLogDirs', version, { dirs: [] });
    await peer.send('both', 'AlterReplicaLogDirs', version, {
      dirs: [
        { path, topics: [{ name: 'ld-one', partitions: [0] }] },
        { path: '/no/such/directory', topics: [{ name: 'ld-one', partitions: [1] }] },
      ],
    });
  }
}

async function apiVersions(peer: Peer): Promise<void> {
  const names: readonly [string, string][] = [
    ['', ''],
    ['a', ''],
    ['-a', '1'],
    ['a b', '1'],
    ['a.b-c', '1.0-x'],
    ['a_b', '1'],
  ];
  for (const version of peer.versions('ApiVersions')) {
    if (version < 3) continue;
    for (const [clientSoftwareName, clientSoftwareVersion] of names) {
      const answer = await peer.quiet('ApiVersions', version, { clientSoftwareName, clientSoftwareVersion });
      peer.note(
        `v${version} '${clientSoftwareName}' '${clientSoftwareVersion}'`,
        pick(answer, 'errorCode') as number,
      );
    }
  }
}

export const adminScenarios: readonly Scenario[] = [
  { name: 'elect leaders', run: electLeaders },
  { name: 'reassignments', run: reassignments },
  { name: 'quorum', run: quorum },
  { name: 'log directories', run: logDirs },
  { name: 'api versions', run: apiVersions },
];
