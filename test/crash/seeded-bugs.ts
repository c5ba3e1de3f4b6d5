/**
 * Bugs to be put into the bundle of a test's subject, each to prove that a crash test finds it. They are texts of the sources: where a
 * text is gone the proof says so, and the bug is to be written anew.
 */
import type { SeededBug } from './broker-process.ts';

export interface KnownBug extends SeededBug {
  /** The test that must find it: the simulated disk's, or the one that kills the real broker. */
  readonly foundBy: 'power cuts' | 'kills';
}

export const seededBugs: readonly KnownBug[] = [
  {
    name: 'sync is acknowledged when written',
    foundBy: 'power cuts',
    file: 'src/storage/embedded/queue-visibility.ts',
    find: 'let needed = isSync ? end : 0;',
    replace: 'let needed = 0;',
  },
  {
    name: 'payloads are not checked at recovery',
    foundBy: 'power cuts',
    file: 'src/storage/embedded/log-scan.ts',
    find: 'if (!isIntact) return undefined;',
    replace: '',
  },
  {
    name: 'groups are recovered in part',
    foundBy: 'power cuts',
    file: 'src/storage/embedded/log-scan.ts',
    find: 'if (header.isLastOfGroup) {',
    replace: 'if (isUsable) {',
  },
  {
    name: 'a failed flush is tried again',
    foundBy: 'power cuts',
    file: 'src/storage/embedded/strict-file-system.ts',
    find: '      await this.file.datasync();',
    replace: '      await this.file.datasync().catch(() => this.file.datasync());',
  },
  {
    name: "a new segment's name is not flushed",
    foundBy: 'power cuts',
    file: 'src/storage/embedded/commit-log.ts',
    find: 'await this.fileSystem.syncDirectory(this.directory);',
    replace: '',
  },
  {
    name: 'the index is sealed ahead of the log',
    foundBy: 'power cuts',
    file: 'src/storage/embedded/embedded-engine.ts',
    find: 'this.unsettled[count]!.end <= durable',
    replace: 'true',
  },
  {
    name: 'producers are forgotten at recovery',
    foundBy: 'power cuts',
    file: 'src/storage/embedded/recovery.ts',
    find: 'this.window.record(producer, {',
    replace: '((..._ignored) => {})(producer, {',
  },
  {
    name: 'conditions are not looked at',
    foundBy: 'power cuts',
    file: 'src/storage/embedded/embedded-engine.ts',
    find: '!conditionsHold(pins, own)',
    replace: 'false',
  },
  {
    name: 'everything is acknowledged before it is written',
    foundBy: 'kills',
    file: 'src/storage/embedded/queue-visibility.ts',
    find: '    return new Promise((resolve) => {\n      this.awaitingWrite.push(\n        new PendingGroup(end, needed,',
    replace:
      '    return new Promise((resolve) => {\n      resolve(results);\n      this.awaitingWrite.push(\n        new PendingGroup(end, needed,',
  },
  {
    name: 'duplicates are not looked for',
    foundBy: 'kills',
    file: 'src/storage/producer-window.ts',
    find: 'if (facts.producerEpoch < producer.epoch) return stale;',
    replace: 'return next;',
  },
  {
    name: 'committed offsets are acknowledged and not kept',
    foundBy: 'kills',
    file: 'src/storage/embedded/log-scan.ts',
    find: 'if (isUsable) options.visit(header, payload);',
    replace: 'if (isUsable && header.kind !== 2) options.visit(header, payload);',
  },
];
