/**
 * Bugs to be put into the bundle of a test's subject, each to prove that a crash test finds it. They are texts of the sources: where a
 * text is gone the proof says so, and the bug is to be written anew.
 */
import type { SeededBug } from './broker-process.ts';

/**
 * `disk`: a cut at every call of the simulated disk (power-cuts.ts). `simulation`, `states`: test/simulation. `kills`: of the real broker.
 * `cuts`: of the power of a real file system.
 */
export type Tester = 'disk' | 'simulation' | 'states' | 'kills' | 'cuts';

export interface KnownBug extends SeededBug {
  /** The tests that must find it. */
  readonly foundBy: readonly Tester[];
}

export const seededBugs: readonly KnownBug[] = [
  {
    name: 'sync is acknowledged when written',
    foundBy: ['disk', 'simulation', 'states', 'cuts'],
    file: 'src/storage/embedded/queue-visibility.ts',
    find: 'let needed = isSync ? end : 0;',
    replace: 'let needed = 0;',
  },
  {
    name: 'payloads are not checked at recovery',
    foundBy: ['disk', 'states'],
    file: 'src/storage/embedded/log-scan.ts',
    find: 'if (!isIntact) return undefined;',
    replace: '',
  },
  {
    name: 'groups are recovered in part',
    foundBy: ['disk', 'simulation', 'states'],
    file: 'src/storage/embedded/log-scan.ts',
    find: 'if (header.isLastOfGroup) {',
    replace: 'if (isUsable) {',
  },
  {
    name: 'a failed flush is tried again',
    foundBy: ['disk'],
    file: 'src/storage/embedded/strict-file-system.ts',
    find: '      await this.file.datasync();',
    replace: '      await this.file.datasync().catch(() => this.file.datasync());',
  },
  {
    name: "a new segment's name is not flushed",
    foundBy: ['disk', 'simulation', 'states'],
    file: 'src/storage/embedded/commit-log.ts',
    find: 'await this.fileSystem.syncDirectory(this.directory);',
    replace: '',
  },
  {
    name: 'the index is sealed ahead of the log',
    foundBy: ['disk'],
    file: 'src/storage/embedded/append-path.ts',
    find: 'this.unsettled[count]!.end <= durable',
    replace: 'true',
  },
  {
    name: 'producers are forgotten at recovery',
    foundBy: ['disk', 'simulation'],
    file: 'src/storage/embedded/log-replay.ts',
    find: 'this.window.record(producer, {',
    replace: '((..._ignored) => {})(producer, {',
  },
  {
    name: 'conditions are not looked at',
    foundBy: ['disk', 'simulation'],
    file: 'src/storage/embedded/append-path.ts',
    find: '!pins.every((pin, at) => pin.holds(expected[at]!))',
    replace: 'false',
  },
  {
    name: 'everything is acknowledged before it is written',
    foundBy: ['kills'],
    file: 'src/storage/embedded/queue-visibility.ts',
    find: '    return new Promise((resolve) => {\n      this.awaitingWrite.push(\n        new PendingGroup(end, needed,',
    replace:
      '    return new Promise((resolve) => {\n      resolve(results);\n      this.awaitingWrite.push(\n        new PendingGroup(end, needed,',
  },
  {
    name: 'duplicates are not looked for',
    foundBy: ['kills', 'simulation'],
    file: 'src/storage/producer-window.ts',
    find: 'if (facts.producerEpoch < producer.epoch) return stale;',
    replace: 'return next;',
  },
  {
    name: 'committed offsets are acknowledged and not kept',
    foundBy: ['kills'],
    file: 'src/storage/embedded/log-scan.ts',
    find: 'if (isUsable) options.visit(header, payload);',
    replace: 'if (isUsable && header.kind !== 2) options.visit(header, payload);',
  },
  {
    name: 'the log is never flushed',
    foundBy: ['cuts', 'states', 'simulation'],
    file: 'src/storage/embedded/commit-log.ts',
    find: '    await file.datasync();',
    replace: '    await Promise.resolve();',
  },
  {
    name: 'the flush interval is forty times as long',
    foundBy: ['cuts'],
    file: 'src/storage/embedded/commit-log.ts',
    find: 'const dueMs = this.clock.monotonicMs() + withinMs;',
    replace: 'withinMs *= 40; const dueMs = this.clock.monotonicMs() + withinMs;',
  },
  {
    name: 'a seal is tried again and again once the log has failed',
    foundBy: ['simulation'],
    file: 'src/storage/embedded/maintenance.ts',
    find: '!this.isClosing && !this.parts.commitLog.hasFailed',
    replace: '!this.isClosing',
  },
];
