/** What can happen to a data directory between two lives of the engine, so that the fault matrix strikes what puts it right, too. */
import type { SimulatedDisk } from '../fakes/simulated-disk.ts';
import type { Mishap } from './fault-matrix.ts';

function filesOf(disk: SimulatedDisk, folder: string, ending: string): string[] {
  return disk.files().filter((path) => path.startsWith(`/data/${folder}/`) && path.endsWith(ending));
}

function flip(disk: SimulatedDisk, path: string, at: number): void {
  disk.damage(path, (bytes) => {
    bytes[at]! ^= 0x10;
  });
}

async function write(disk: SimulatedDisk, path: string, bytes: Buffer, from = 0): Promise<void> {
  const file = await disk.open(path, disk.files().includes(path) ? 'write' : 'create');
  await file.write([bytes], from);
  await file.close();
}

/** The segments of the head, in order. */
function headSegments(disk: SimulatedDisk): string[] {
  const isOfHead = (path: string): boolean => Number(path.slice(-14, -4)) < 2 ** 20;
  return filesOf(disk, 'commitlog', '.log').filter(isOfHead);
}

export const mishaps: readonly Mishap[] = [
  {
    name: 'blocks of index runs are damaged',
    async between(disk) {
      for (const path of filesOf(disk, 'consumequeues', '.run')) flip(disk, path, 8);
    },
  },
  {
    name: 'index runs are cut off or gone',
    async between(disk) {
      for (const [at, path] of filesOf(disk, 'consumequeues', '.run').entries())
        disk.cut(path, at % 2 === 0 ? 100 : undefined);
    },
  },
  {
    name: 'the folder of index runs is gone',
    async between(disk) {
      disk.removeDirectory('/data/consumequeues');
    },
  },
  {
    name: 'blocks of the ordered index are damaged',
    async between(disk) {
      for (const path of filesOf(disk, 'index', '.index')) flip(disk, path, 20);
    },
  },
  {
    name: 'files of the ordered index are cut off',
    async between(disk) {
      for (const path of filesOf(disk, 'index', '.index')) disk.cut(path, 10);
    },
  },
  {
    name: 'the folder of the ordered index is gone',
    async between(disk) {
      disk.removeDirectory('/data/index');
    },
  },
  {
    name: 'the folder of snapshots is gone',
    async between(disk) {
      disk.removeDirectory('/data/snapshots');
    },
  },
  {
    name: 'the folder of second copies is gone',
    async between(disk) {
      disk.removeDirectory('/data/mirror');
    },
  },
  {
    name: 'a kill, and bytes behind the end of the log',
    kills: true,
    async between(disk) {
      const segments = headSegments(disk).filter((path) => disk.contents(path).length > 0);
      const last = segments.at(-1)!;
      await write(disk, last, Buffer.alloc(300, 0xee), disk.contents(last).length);
    },
  },
  {
    name: 'a kill, and a segment of nothing behind the log',
    kills: true,
    async between(disk) {
      const last = headSegments(disk).at(-1)!;
      const next = String(Number(last.slice(-14, -4)) + 1).padStart(10, '0');
      await write(disk, `/data/commitlog/${next}.log`, Buffer.alloc(300, 0xee));
    },
  },
  {
    name: 'a kill, and files that nobody knows',
    kills: true,
    async between(disk) {
      for (const path of [
        'index/0000009999.index',
        'mirror/0000009999.index.new',
        'consumequeues/0000009999.run',
        'snapshots/0000009999.state',
        'mirror/0000009999.producers.new',
      ])
        await write(disk, `/data/${path}`, Buffer.alloc(100, 0xee));
    },
  },
  {
    name: 'empty folders and an empty segment before the first start',
    async beforeAll(disk) {
      await disk.mkdir('/data/commitlog');
      // Whoever made the data directory made its name durable; what is in it is the engine's to see to.
      await disk.syncDirectory('/');
      await write(disk, '/data/commitlog/0000000000.log', Buffer.alloc(0));
    },
  },
  {
    name: 'a link in the place of a file that is about to be written',
    async between(_disk, watched) {
      watched.links.add('/data/MANIFEST.new');
    },
  },
  {
    name: 'durable entries are damaged, and a start accepts the loss',
    kills: true,
    acceptsLoss: true,
    async between(disk) {
      const segments = headSegments(disk);
      // From the middle of one segment to the middle of the next.
      const [first, second] = segments.slice(-3);
      disk.damage(first!, (bytes) => void bytes.fill(0, bytes.length >> 1));
      disk.damage(second!, (bytes) => void bytes.fill(0, 0, bytes.length >> 1));
    },
  },
  {
    name: 'lives more, so that the ordered index has runs to merge',
    livesBetween: 5,
    closesAgain: true,
  },
  { name: 'a disk without a reserve', settings: { reserveBytes: 0 } },
];
