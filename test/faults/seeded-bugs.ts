/** Bugs to be put into the engine, each to prove that the fault matrix finds it. Texts of the sources, as in test/crash/seeded-bugs.ts. */
import type { SeededBug } from '../crash/broker-process.ts';

const engine = 'src/storage/embedded/';

export const seededBugs: readonly SeededBug[] = [
  {
    name: 'a failed flush is tried again',
    file: `${engine}strict-file-system.ts`,
    find: '      await this.file.datasync();',
    replace: '      await this.file.datasync().catch(() => this.file.datasync());',
  },
  {
    name: 'a failed flush is passed over',
    file: `${engine}strict-file-system.ts`,
    find: '      await this.file.datasync();',
    replace: '      await this.file.datasync().catch(() => {});',
  },
  {
    name: 'a full disk ends the broker',
    file: `${engine}commit-log.ts`,
    find: "const passingCodes = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE']);",
    replace: 'const passingCodes = new Set<string>();',
  },
  {
    name: 'a failed write is passed over',
    file: `${engine}commit-log.ts`,
    find: '      await file.write(buffers, offsetIn(from));',
    replace: '      await file.write(buffers, offsetIn(from)).catch(() => {});',
  },
  {
    name: 'a failed read behind the appends ends the broker',
    file: `${engine}maintenance.ts`,
    find: '          error instanceof ReadFailedError ||',
    replace: '',
  },
  {
    name: 'a close goes on after a seal that it gave up',
    file: `${engine}maintenance.ts`,
    find: '          this.hasGivenUp = true;',
    replace: '',
  },
  {
    name: 'a block that came up short is kept',
    file: `${engine}block-cache.ts`,
    find: 'if (cached !== undefined && cached.length >= neededBytes) {',
    replace: 'if (cached !== undefined) {',
  },
  {
    name: 'a failed read is remembered',
    file: `${engine}block-cache.ts`,
    find: '        this.loading.delete(key);\n        throw error;',
    replace: '        throw error;',
  },
];
