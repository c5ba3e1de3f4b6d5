/** Transactions: their coordinator, what they write, who sees it, and what operators ask. */
import { batch } from '../batches.ts';
import { type Answer, type Peer, pick } from '../peer.ts';
import type { Scenario } from '../scenario.ts';

const unknownId = 'AAAAAAAAAAAAAAAAAAAAKg';
const concurrent = 51;
const timeoutMs = 60_000;

/** A transactional producer that says exactly what it is told. */
class Transactions {
  readonly peer: Peer;
  readonly id: string;
  producerId = -1;
  producerEpoch = -1;
  private readonly sequences = new Map<string, number>();

  constructor(peer: Peer, id: string) {
    this.peer = peer;
    this.id = id;
  }

  /** Asks until nothing is in the way, as clients do. */
  async init(label: string, version = 5, more: object = {}): Promise<Answer> {
    const answer = await this.peer.sendUntil(
      label,
      'InitProducerId',
      version,
      {
        transactionalId: this.id,
        transactionTimeoutMs: timeoutMs,
        producerId: -1,
        producerEpoch: -1,
        ...more,
      },
      (one) => pick(one, 'errorCode') !== concurrent,
    );
    if (pick(answer, 'errorCode') === 0) {
      this.producerId = Number(pick(answer, 'producerId'));
      this.producerEpoch = pick(answer, 'producerEpoch') as number;
      this.sequences.clear();
    }
    return answer;
  }

  who(more: object = {}) {
    const { producerId, producerEpoch } = this;
    return { transactionalId: this.id, producerId, producerEpoch, ...more };
  }

  add(
    label: string,
    version: number,
    topics: readonly { name: string; partitions: number[] }[],
    more: object = {},
  ) {
    const { transactionalId, producerId, producerEpoch } = this.who(more) as {
      transactionalId: string;
      producerId: number;
      producerEpoch: number;
    };
    const body =
      version < 4
        ? {
            v3AndBelowTransactionalId: transactionalId,
            v3AndBelowProducerId: producerId,
            v3AndBelowProducerEpoch: producerEpoch,
            v3AndBelowTopics: topics,
          }
        : {
            transactions: [
              { transactionalId, producerId, producerEpoch, verifyOnly: false, topics, ...more },
            ],
          };
    return this.peer.sendUntil(label, 'AddPartitionsToTxn', version, body, (answer) => {
      const text = JSON.stringify(answer, (_name, value) =>
        typeof value === 'bigint' ? String(value) : value,
      );
      return !text.includes(`"partitionErrorCode":${concurrent}`);
    });
  }

  produce(
    label: string,
    version: number,
    target: { name: string; topicId: string; partition?: number },
    more: object = {},
  ) {
    const { name, topicId, partition = 0 } = target;
    const key = `${name} ${partition}`;
    const first = this.sequences.get(key) ?? 0;
    const { producerId, producerEpoch } = this;
    const records = batch(2, {
      producerId,
      producerEpoch,
      baseSequence: first,
      transactional: true,
      ...more,
    });
    this.sequences.set(key, first + 2);
    return this.peer.sendUntil(
      label,
      'Produce',
      version,
      {
        transactionalId: this.id,
        acks: -1,
        timeoutMs: 5_000,
        topicData: [{ name, topicId, partitionData: [{ index: partition, records }] }],
      },
      (answer) => {
        const code = pick(answer, 'responses', 0, 'partitionResponses', 0, 'errorCode');
        return code !== concurrent && code !== 19;
      },
    );
  }

  async end(label: string, version: number, committed: boolean, more: object = {}): Promise<Answer> {
    const answer = await this.peer.sendUntil(
      label,
      'EndTxn',
      version,
      { ...this.who(), committed, ...more },
      (one) => pick(one, 'errorCode') !== concurrent,
    );
    if (version >= 5 && pick(answer, 'errorCode') === 0 && Object.keys(more).length === 0) {
      this.producerId = Number(pick(answer, 'producerId'));
      this.producerEpoch = pick(answer, 'producerEpoch') as number;
      this.sequences.clear();
    }
    return answer;
  }

  /** Resolves when the markers of the last end are written. */
  async settled(): Promise<void> {
    await this.peer.until('DescribeTransactions', 0, { transactionalIds: [this.id] }, (answer) => {
      const state = pick(answer, 'transactionStates', 0, 'transactionState');
      return state !== 'PrepareCommit' && state !== 'PrepareAbort';
    });
  }

  describe(label: string): Promise<Answer> {
    return this.peer.say(label, 'DescribeTransactions', { transactionalIds: [this.id] });
  }
}

async function read(
  peer: Peer,
  label: string,
  topic: string,
  topicId: string,
  fetchOffset = 0,
): Promise<void> {
  for (const isolationLevel of [0, 1]) {
    await peer.say(`${label}, isolation ${isolationLevel}`, 'Fetch', {
      maxWaitMs: 100,
      minBytes: 1,
      maxBytes: 1_000_000,
      isolationLevel,
      sessionEpoch: -1,
      topics: [{ topic, topicId, partitions: [{ partition: 0, fetchOffset, partitionMaxBytes: 1_000_000 }] }],
    });
    for (const timestamp of [-1, -2, -3]) {
      await peer.say(`${label}, offset of ${timestamp}, isolation ${isolationLevel}`, 'ListOffsets', {
        replicaId: -1,
        isolationLevel,
        topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp }] }],
      });
    }
  }
}

async function coordinatorReady(peer: Peer): Promise<void> {
  for (let index = 0; index < 12; index++) {
    await peer.until(
      'FindCoordinator',
      4,
      { keyType: 1, coordinatorKeys: [`warm-${index}`] },
      (answer) => pick(answer, 'coordinators', 0, 'errorCode') === 0,
    );
    await peer.until(
      'InitProducerId',
      5,
      { transactionalId: `warm-${index}`, transactionTimeoutMs: timeoutMs },
      (answer) => pick(answer, 'errorCode') === 0,
    );
    await peer.until(
      'FindCoordinator',
      4,
      { keyType: 0, coordinatorKeys: [`warm-${index}`] },
      (answer) => pick(answer, 'coordinators', 0, 'errorCode') === 0,
    );
  }
}

async function coordinator(peer: Peer): Promise<void> {
  await coordinatorReady(peer);
  for (const version of peer.versions('FindCoordinator')) {
    if (version === 0) continue;
    await peer.send(
      'of a transaction',
      'FindCoordinator',
      version,
      version < 4 ? { key: 'tx', keyType: 1 } : { keyType: 1, coordinatorKeys: ['tx', ''] },
    );
  }
  for (const version of peer.versions('InitProducerId')) {
    const one = new Transactions(peer, `tx-init-${version}`);
    await one.init('new', version);
    await one.init('again', version);
    await one.init('an empty id', version, { transactionalId: '' });
    await one.init('no time', version, { transactionTimeoutMs: 0 });
    await one.init('less than no time', version, { transactionTimeoutMs: -1 });
    await one.init('too much time', version, { transactionTimeoutMs: 900_001 });
    if (version < 3) continue;
    const { producerId, producerEpoch } = one;
    await one.init('with what it had', version, { producerId, producerEpoch });
    await one.init('with what it had, repeated', version, { producerId, producerEpoch });
    await one.init('with an older epoch', version, { producerId, producerEpoch: producerEpoch - 1 });
    await one.init('with a newer epoch', version, { producerId, producerEpoch: 99 });
    await one.init('with another id', version, { producerId: 999_999, producerEpoch: 0 });
    await one.init('with another id at its end', version, { producerId: 999_999, producerEpoch: 32766 });
    await one.init('without an epoch', version, { producerId, producerEpoch: -1 });
    await one.init('new, with what another had', version, {
      transactionalId: `tx-init-other-${version}`,
      producerId,
      producerEpoch,
    });
  }
}

async function covering(peer: Peer): Promise<void> {
  await peer.topic('tx-add', 3);
  for (const version of peer.versions('AddPartitionsToTxn')) {
    const one = new Transactions(peer, `tx-add-${version}`);
    const all = [{ name: 'tx-add', partitions: [0, 1] }];
    await one.add('of an unknown id', version, all, { producerId: 1, producerEpoch: 0 });
    await one.init('a producer');
    await one.add('two', version, all);
    await one.add('the same', version, all);
    await one.add('one more', version, [{ name: 'tx-add', partitions: [2] }]);
    await one.add('an unknown topic', version, [{ name: 'tx-nope', partitions: [0] }, ...all]);
    await one.add('an unknown partition', version, [{ name: 'tx-add', partitions: [0, 9] }]);
    await one.add('none', version, []);
    await one.add('an empty id', version, all, { transactionalId: '' });
    await one.add('an older epoch', version, all, { producerEpoch: one.producerEpoch - 1 });
    await one.add('a newer epoch', version, all, { producerEpoch: one.producerEpoch + 1 });
    await one.add('another producer id', version, all, { producerId: 999_999 });
    if (version >= 4) {
      await one.add('a question', version, [{ name: 'tx-add', partitions: [0, 1] }], { verifyOnly: true });
      await one.add('a question of an older epoch', version, all, { verifyOnly: true, producerEpoch: -1 });
      await one.add('a question of another', version, all, { verifyOnly: true, producerId: 77 });
      const other = new Transactions(peer, `tx-add-other-${version}`);
      await other.init('another producer');
      await other.add('a question of what is not covered', version, all, { verifyOnly: true });
    }
    await one.describe('the transaction');
    await one.end('abort', 3, false);
    await one.settled();
    await one.describe('the transaction, aborted');
  }
  for (const version of peer.versions('AddOffsetsToTxn')) {
    const one = new Transactions(peer, `tx-offsets-${version}`);
    const send = (label: string, more: object = {}) =>
      peer.sendUntil(
        label,
        'AddOffsetsToTxn',
        version,
        { ...one.who(), groupId: 'tx-group', ...more },
        (answer) => pick(answer, 'errorCode') !== concurrent,
      );
    await send('of an unknown id', { producerId: 1, producerEpoch: 0 });
    await one.init('a producer');
    await send('a group');
    await send('a group again');
    await send('an empty id', { transactionalId: '' });
    await send('an empty group', { groupId: '' });
    await send('an older epoch', { producerEpoch: -1 });
    await send('another producer id', { producerId: 999_999 });
    await one.end('commit', 3, true);
    await one.settled();
  }
}

async function writing(peer: Peer): Promise<void> {
  for (const version of peer.versions('Produce')) {
    const name = `tx-write-${version}`;
    const target = { name, topicId: await peer.topic(name, 2) };
    const one = new Transactions(peer, `tx-write-${version}`);
    await one.produce('of an unknown id', version, target, {
      producerId: 1,
      producerEpoch: 0,
      baseSequence: 0,
    });
    await one.init('a producer');
    if (version < 12) {
      await one.produce('what is not covered', version, target, { baseSequence: 0 });
      await one.add('a partition', 3, [{ name, partitions: [0] }]);
    }
    await one.produce('first', version, target, { baseSequence: 0 });
    await one.produce('second', version, target, { baseSequence: 2 });
    await one.produce('second again', version, target, { baseSequence: 2 });
    await one.produce('out of order', version, target, { baseSequence: 9 });
    await one.produce('an older epoch', version, target, {
      producerEpoch: one.producerEpoch - 1,
      baseSequence: 0,
    });
    await one.produce('a newer epoch', version, target, {
      producerEpoch: one.producerEpoch + 1,
      baseSequence: 0,
    });
    await one.produce('another producer id', version, target, { producerId: 999_999, baseSequence: 0 });
    await one.produce('of no transaction', version, target, { transactional: false, baseSequence: 4 });
    await peer.send('without a transactional id', 'Produce', version, {
      transactionalId: null,
      acks: -1,
      timeoutMs: 5_000,
      topicData: [
        {
          name,
          topicId: target.topicId,
          partitionData: [
            {
              index: 0,
              records: batch(1, {
                producerId: one.producerId,
                producerEpoch: one.producerEpoch,
                baseSequence: 4,
                transactional: true,
              }),
            },
          ],
        },
      ],
    });
    await read(peer, 'while it is open', name, target.topicId);
    await one.end('commit', version < 12 ? 3 : 5, true);
    await one.settled();
    await read(peer, 'committed', name, target.topicId);
    await one.produce('after the end', version, target, { baseSequence: version < 12 ? 4 : 0 });
    if (version < 12) await one.add('the partition again', 3, [{ name, partitions: [0] }]);
    await one.produce('in the next', version, target, { baseSequence: version < 12 ? 4 : 2 });
    await one.end('abort', version < 12 ? 3 : 5, false);
    await one.settled();
    await read(peer, 'aborted', name, target.topicId);
    await read(peer, 'aborted, from the middle', name, target.topicId, 6);
    await peer.say('who writes', 'DescribeProducers', { topics: [{ name, partitionIndexes: [0, 1, 9] }] });
  }
}

async function ends(peer: Peer): Promise<void> {
  await peer.topic('tx-end', 2);
  for (const version of peer.versions('EndTxn')) {
    for (const committed of [true, false]) {
      const word = committed ? 'commit' : 'abort';
      const one = new Transactions(peer, `tx-end-${version}-${word}`);
      const step = async (label: string, commits: boolean, more: object = {}) => {
        await one.end(label, version, commits, more);
        await one.settled();
      };
      await step(`${word} of an unknown id`, committed, { producerId: 1, producerEpoch: 0 });
      await one.init('a producer');
      await step(`${word} of nothing`, committed);
      await one.add('a partition', version < 5 ? 3 : 5, [{ name: 'tx-end', partitions: [0] }]);
      await step('an older epoch', committed, { producerEpoch: one.producerEpoch - 1 });
      await step('a newer epoch', committed, { producerEpoch: one.producerEpoch + 1 });
      await step('another producer id', committed, { producerId: 999_999 });
      await step('an empty id', committed, { transactionalId: '' });
      const before = { producerId: one.producerId, producerEpoch: one.producerEpoch };
      await step(word, committed);
      await one.describe('after it');
      await step('repeated', committed, before);
      await step('the other way', !committed, before);
      await step('once more with what it has now', committed);
      await step('once more the other way', !committed);
      await one.init('a new producer');
      await one.describe('after that');
    }
  }
  const fenced = new Transactions(peer, 'tx-fenced');
  for (const version of [3, 5]) {
    await fenced.init('a producer');
    await fenced.add('a partition', version, [{ name: 'tx-end', partitions: [1] }]);
    const { producerId, producerEpoch } = fenced;
    await fenced.init('a second one while the first has a transaction');
    await fenced.settled();
    await fenced.describe('which is aborted');
    await fenced.end('the first ends', version, true, { producerId, producerEpoch });
    await fenced.add('the first adds', version, [{ name: 'tx-end', partitions: [1] }], { producerEpoch });
  }
  const own = new Transactions(peer, 'tx-own');
  await own.init('a producer');
  await own.add('a partition', 5, [{ name: 'tx-end', partitions: [1] }]);
  const { producerId, producerEpoch } = own;
  await own.init('which asks for another epoch while it has a transaction', 5, { producerId, producerEpoch });
  await own.describe('which is aborted');
}

async function offsets(peer: Peer): Promise<void> {
  const topicId = await peer.topic('tx-source', 2);
  for (const version of peer.versions('TxnOffsetCommit')) {
    const group = `tx-group-${version}`;
    const one = new Transactions(peer, `tx-commit-${version}`);
    const commit = (label: string, more: object = {}, offset = 10) =>
      peer.sendUntil(
        label,
        'TxnOffsetCommit',
        version,
        {
          ...one.who(),
          groupId: group,
          generationIdOrMemberEpoch: -1,
          memberId: '',
          groupInstanceId: null,
          topics: [
            {
              name: 'tx-source',
              topicId,
              partitions: [
                {
                  partitionIndex: 0,
                  committedOffset: offset,
                  committedLeaderEpoch: 0,
                  committedMetadata: 'm',
                },
                {
                  partitionIndex: 7,
                  committedOffset: offset,
                  committedLeaderEpoch: 0,
                  committedMetadata: '',
                },
              ],
            },
          ],
          ...more,
        },
        (answer) => pick(answer, 'topics', 0, 'partitions', 0, 'errorCode') !== concurrent,
      );
    const fetch = async (label: string) => {
      for (const requireStable of [false, true]) {
        await peer.send(`${label}${requireStable ? ', stable' : ''}`, 'OffsetFetch', 9, {
          groups: [
            {
              groupId: group,
              memberId: null,
              memberEpoch: -1,
              topics: [{ name: 'tx-source', partitionIndexes: [0, 1] }],
            },
          ],
          requireStable,
        });
      }
    };
    await commit('of an unknown id', { producerId: 1, producerEpoch: 0 });
    await one.init('a producer');
    if (version < 5) {
      await commit('of a group that is not covered');
      await peer.quiet('AddOffsetsToTxn', 3, { ...one.who(), groupId: group });
    }
    await commit('offsets');
    await fetch('while it is open');
    await commit('an older epoch', { producerEpoch: one.producerEpoch - 1 });
    await commit('another producer id', { producerId: 999_999 });
    await commit('an empty id', { transactionalId: '' });
    await commit('an empty group', { groupId: '' });
    await commit('an unknown topic', {
      topics: [
        {
          name: 'tx-nope',
          topicId: unknownId,
          partitions: [
            { partitionIndex: 0, committedOffset: 1, committedLeaderEpoch: 0, committedMetadata: '' },
          ],
        },
      ],
    });
    if (version >= 3) {
      await commit('a generation of nobody', { generationIdOrMemberEpoch: 3, memberId: 'm' });
      await commit('a member of nobody', { memberId: 'm' });
      await commit('an instance of nobody', { groupInstanceId: 'i' });
    }
    await one.describe('the transaction');
    await one.end('commit', version < 5 ? 3 : 5, true);
    await one.settled();
    await fetch('committed');
    await commit('after the end', {}, 20);
    if (version < 5) await peer.quiet('AddOffsetsToTxn', 3, { ...one.who(), groupId: group });
    await commit('more', {}, 30);
    await fetch('while the next is open');
    await one.end('abort', version < 5 ? 3 : 5, false);
    await one.settled();
    await fetch('aborted');
  }
}

async function operators(peer: Peer): Promise<void> {
  const topicId = await peer.topic('tx-admin', 2);
  const one = new Transactions(peer, 'tx-admin');
  await one.init('a producer');
  await one.init('a producer with an epoch before it');
  await one.produce('a batch', 12, { name: 'tx-admin', topicId });
  const ids = ['tx-admin', 'tx-never', ''];
  await peer.say('transactions', 'DescribeTransactions', { transactionalIds: ids });
  for (const version of peer.versions('ListTransactions')) {
    const list = (label: string, more: object) =>
      peer.send(label, 'ListTransactions', version, {
        stateFilters: [],
        producerIdFilters: [one.producerId],
        ...more,
      });
    await list('one by its producer', {});
    await list('ongoing', { stateFilters: ['Ongoing'] });
    await list('empty', { stateFilters: ['Empty'] });
    await list('a state that is none', { stateFilters: ['Sleeping', 'Ongoing'] });
    await list('in small letters', { stateFilters: ['ongoing'] });
    if (version >= 1) {
      await list('older than an hour', { durationFilter: 3_600_000 });
      await list('older than nothing', { durationFilter: -1 });
    }
    if (version < 2) continue;
    await list('by a pattern', { transactionalIdPattern: 'tx-ad.*' });
    await list('by a part of a pattern', { transactionalIdPattern: 'tx-ad' });
    await list('by no pattern', { transactionalIdPattern: '' });
    await list('by a pattern that is none', { transactionalIdPattern: '(' });
  }
  const producers = () =>
    peer.say('producers', 'DescribeProducers', {
      topics: [
        { name: 'tx-admin', partitionIndexes: [0, 1, 5] },
        { name: 'tx-nope', partitionIndexes: [0] },
      ],
    });
  await producers();
  for (const version of peer.versions('WriteTxnMarkers')) {
    const mark = (label: string, more: object = {}, name = 'tx-admin', partitionIndexes = [0]) =>
      peer.send(label, 'WriteTxnMarkers', version, {
        markers: [
          {
            producerId: one.producerId,
            producerEpoch: one.producerEpoch,
            transactionResult: false,
            coordinatorEpoch: 0,
            topics: [{ name, partitionIndexes }],
            ...more,
          },
        ],
      });
    await mark('in an unknown topic', {}, 'tx-nope');
    await mark('in an unknown partition', {}, 'tx-admin', [0, 9]);
    await mark('of an older epoch', { producerEpoch: one.producerEpoch - 1 });
    await mark('again');
    await mark('where nothing is', {}, 'tx-admin', [1]);
    await read(peer, 'marked', 'tx-admin', topicId);
  }
  await producers();
}

async function features(peer: Peer): Promise<void> {
  for (const version of peer.versions('UpdateFeatures')) {
    const update = (
      label: string,
      feature: string,
      maxVersionLevel: number,
      upgradeType = 1,
      more: object = {},
    ) =>
      peer.send(label, 'UpdateFeatures', version, {
        timeoutMs: 5_000,
        featureUpdates: [
          { feature, maxVersionLevel, upgradeType, allowDowngrade: version === 0 && upgradeType > 1 },
        ],
        validateOnly: false,
        ...more,
      });
    await update('too high', 'transaction.version', 9);
    await update('lower', 'transaction.version', 1);
    await update('the same', 'transaction.version', 2);
    if (version === 0) continue;
    await update('lower, only asked', 'transaction.version', 1, 2, { validateOnly: true });
    await update('lower on purpose', 'transaction.version', 1, 2);
    await update('higher', 'transaction.version', 2);
  }
}

export const transactionScenarios: readonly Scenario[] = [
  { name: 'transactions: producers', run: coordinator },
  { name: 'transactions: what they cover', run: covering },
  { name: 'transactions: writing', run: writing },
  { name: 'transactions: ends', run: ends },
  { name: 'transactions: offsets', run: offsets },
  { name: 'transactions: operators', run: operators },
  { name: 'transactions: features', run: features },
];
