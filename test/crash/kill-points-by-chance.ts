/** The kill points (kill-points.ts) that a life of the broker under test may end at, and one of them by chance. */
export type KillPointCall =
  | 'create'
  | 'read'
  | 'write'
  | 'datasync'
  | 'truncate'
  | 'syncDirectory'
  | 'rename'
  | 'unlink';
export type KillPointMoment = 'before' | 'half' | 'after';

const points: readonly (readonly [
  KillPointCall,
  readonly string[],
  readonly KillPointMoment[],
  largestNumber: number,
])[] = [
  ['write', ['commitlog'], ['before', 'half', 'after'], 60],
  ['datasync', ['commitlog'], ['before', 'after'], 40],
  ['create', ['commitlog'], ['before', 'after'], 2],
  ['syncDirectory', ['commitlog'], ['before', 'after'], 2],
  ['unlink', ['commitlog', 'consumequeues', 'snapshots'], ['before', 'after'], 3],
  ['truncate', ['commitlog'], ['before', 'after'], 1],
  ['read', ['commitlog', 'consumequeues', 'snapshots', 'MANIFEST'], ['before', 'after'], 8],
  ['create', ['consumequeues', 'snapshots', 'mirror', 'MANIFEST'], ['before', 'after'], 2],
  ['write', ['consumequeues', 'snapshots', 'mirror', 'MANIFEST'], ['before', 'half', 'after'], 3],
  ['datasync', ['consumequeues', 'snapshots', 'mirror', 'MANIFEST'], ['before', 'after'], 2],
  ['rename', ['snapshots', 'mirror', 'MANIFEST'], ['before', 'after'], 2],
  ['syncDirectory', ['consumequeues', 'snapshots', 'mirror', 'MANIFEST'], ['before', 'after'], 2],
];

/** A kill point by chance. Some are never reached in a short life; then the process is killed at a random moment as ever. */
export function anyKillPoint(random: () => number): string {
  const one = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const [call, files, whens, largestNumber] = one(points);
  return `${call} ${one(files)} ${one(whens)} ${1 + Math.floor(random() * largestNumber)}`;
}
