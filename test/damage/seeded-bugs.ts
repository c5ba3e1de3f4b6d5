/**
 * Bugs to be put into a bundle of the damage test, each to prove that it is found. They are texts of the sources: where a text is
 * gone the proof says so, and the bug is to be written anew.
 */
import type { SeededBug } from '../crash/broker-process.ts';

export const seededBugs: readonly SeededBug[] = [
  {
    name: 'payloads are not checked when they are read',
    file: 'src/storage/embedded/entry-reader.ts',
    find: 'this.format.isIntact(bytes, at + headerBytes, payloadBytes)',
    replace: 'true',
  },
  {
    name: 'blocks of an index run are not checked',
    file: 'src/storage/embedded/run-file.ts',
    find: 'if (this.crc32c(into, 0, checksumAt, blockSeed(this.reference.number, block)) !== expected) {',
    replace: 'if (expected === -1) {',
  },
  {
    name: "a snapshot's checksum is not looked at",
    file: 'src/storage/embedded/state-snapshot.ts',
    find: 'if (checksum !== Number.parseInt(match[7]!, 16)) return undefined;',
    replace: '',
  },
  {
    name: 'an older manifest is taken for the newest',
    file: 'src/storage/embedded/manifest.ts',
    find: 'manifest: ahead > 0 ? second.value : first.value,',
    replace: 'manifest: first.value,',
  },
  {
    name: 'repair forgets what was lost',
    file: 'src/storage/embedded/offline/repair.ts',
    find: 'ranges[at]!.push(...list);',
    replace: '',
  },
  {
    name: 'damage behind damage is not looked for',
    file: 'src/storage/embedded/offline/segment-walk.ts',
    find: 'offset += 8;',
    replace: 'offset = until;',
  },
];
