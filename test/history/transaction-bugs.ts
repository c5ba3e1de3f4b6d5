/**
 * Bugs to be put into the broker's bundle, each to prove that the history checker finds it in what real clients see. They are texts of the
 * sources: where a text is gone the proof says so, and the bug is to be written anew.
 */
import type { SeededBug } from '../crash/broker-process.ts';

const open = 'src/services/transactions/open-transactions.ts';
const coordinator = 'src/services/transactions/transaction-coordinator.ts';
const machine = 'src/services/transactions/transaction-state-machine.ts';

export const transactionBugs: readonly SeededBug[] = [
  {
    name: 'open transactions are shown',
    file: open,
    find: 'if (entries === undefined) return visibleEndOffset;',
    replace: 'return visibleEndOffset;',
  },
  {
    name: 'nobody is told what was aborted',
    file: open,
    find: 'if (newest !== undefined && newest < fromOffset) return none;',
    replace: 'return none;',
  },
  {
    name: 'an aborted transaction is said to begin behind its first record',
    file: open,
    find: 'putAbortedRow({ queue, producerId, firstOffset }',
    replace: 'putAbortedRow({ queue, producerId, firstOffset: firstOffset + 1 }',
  },
  {
    name: 'the abort of one partition is not noted',
    file: open,
    find: 'if (!isCommit) {\n          changes.push',
    replace: 'if (!isCommit && at > 0) {\n          changes.push',
  },
  {
    name: 'what is open is forgotten when the broker starts',
    file: open,
    find: 'let after: Buffer | undefined;\n    for (;;) {\n      const rows = await index.range(openRows',
    replace:
      'let after: Buffer | undefined;\n    for (; after; ) {\n      const rows = await index.range(openRows',
  },
  {
    name: 'a partition gets no marker',
    file: coordinator,
    find: 'if (queue === undefined) continue;\n      if (topic === offsetsTopic) {\n        const end',
    replace:
      'if (queue === undefined || (partition === 1 && entries.length > 0)) continue;\n      if (topic === offsetsTopic) {\n        const end',
  },
  {
    name: 'offsets of an aborted transaction stay',
    file: coordinator,
    find: 'const end = { producerId, producerEpoch, isCommit, coordinatorEpoch };',
    replace: 'const end = { producerId, producerEpoch, isCommit: true, coordinatorEpoch };',
  },
  {
    name: 'offsets are not committed with the transaction',
    file: coordinator,
    find: 'const end = { producerId, producerEpoch, isCommit, coordinatorEpoch };',
    replace: 'const end = { producerId, producerEpoch, isCommit: false, coordinatorEpoch };',
  },
  {
    name: 'a commit is answered and aborts',
    file: coordinator,
    find: 'const { producerId, producerEpoch, isCommit } = ending;\n    const coordinatorEpoch',
    replace:
      'const { producerId, producerEpoch } = ending;\n    const isCommit = ending.isCommit && Math.random() > 0.05;\n    const coordinatorEpoch',
  },
  {
    name: 'records sent again are stored twice',
    file: 'src/storage/producer-window.ts',
    find: 'if (facts.producerEpoch < producer.epoch) return stale;',
    replace: 'return next;',
  },
  {
    name: 'everything is acknowledged before it is written',
    file: 'src/storage/embedded/queue-visibility.ts',
    find: '    return new Promise((resolve) => {\n      this.awaitingWrite.push(\n        new PendingGroup(end, needed,',
    replace:
      '    return new Promise((resolve) => {\n      resolve(results);\n      this.awaitingWrite.push(\n        new PendingGroup(end, needed,',
  },
  {
    name: 'nobody is fenced',
    file: machine,
    find: 'return state.producerEpoch === producer.producerEpoch ? errorCodes.NONE : errorCodes.PRODUCER_FENCED;',
    replace: 'return errorCodes.NONE;',
  },
];
