/** What can happen to a file behind the broker's back: one damage, chosen by a seed, that can be done again. */
import { seededRandom } from '../fakes/simulated-disk.ts';
import type { MemoryFiles } from './memory-files.ts';
import { type Prepared, root } from './prepared.ts';

export const damageKinds = [
  'flip a bit',
  'flip bits',
  'zero 512',
  'zero 4096',
  'cut',
  'cut at the end',
  'empty',
  'delete',
  'swap',
  'duplicate',
  'stale chunk',
  'stale file',
  'link',
] as const;
export type DamageKind = (typeof damageKinds)[number];

export interface Damage {
  readonly kind: DamageKind;
  readonly path: string;
  readonly text: string;
}

/** Does one damage; undefined where it would change nothing. */
export function damage(prepared: Prepared, files: MemoryFiles, seed: number): Damage | undefined {
  const random = seededRandom(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const all = files.files().filter((path) => !path.endsWith('/lock'));
  const kinds = [...new Set(all.map(kindOfFile))];
  // Kinds of file as often as each other, but the log as often as all others together.
  const wanted = random() < 0.5 ? 'log' : kinds[below(kinds.length)]!;
  const candidates = all.filter((path) => kindOfFile(path) === wanted);
  const path = candidates[below(candidates.length)]!;
  const kind = damageKinds[below(damageKinds.length)]!;
  const bytes = files.contents(path);
  const before = Buffer.from(bytes);
  const done = (text: string): Damage => ({
    kind,
    path,
    text: `${kind}: ${path.slice(root.length + 1)}${text}`,
  });
  const put = (text: string): Damage | undefined => {
    if (bytes.equals(before)) return undefined;
    files.put(path, bytes);
    return done(text);
  };
  const zero = (unit: number): Damage | undefined => {
    const at = below(Math.ceil(bytes.length / unit)) * unit;
    bytes.fill(0, at, Math.min(at + unit, bytes.length));
    return put(` at ${at}`);
  };
  switch (kind) {
    case 'flip a bit': {
      if (bytes.length === 0) return undefined;
      const at = below(bytes.length);
      bytes[at]! ^= 1 << below(8);
      return put(` at ${at}`);
    }
    case 'flip bits': {
      if (bytes.length === 0) return undefined;
      const at = below(bytes.length);
      for (let count = 2 + below(20); count > 0; count--) {
        bytes[Math.min(bytes.length - 1, at + below(300))]! ^= 1 << below(8);
      }
      return put(` from ${at}`);
    }
    case 'zero 512':
      return zero(512);
    case 'zero 4096':
      return zero(4096);
    case 'cut':
    case 'cut at the end': {
      if (bytes.length === 0) return undefined;
      const size =
        kind === 'cut' ? below(bytes.length) : bytes.length - 1 - below(Math.min(bytes.length, 200));
      files.put(path, bytes.subarray(0, Math.max(0, size)));
      return done(` to ${size}`);
    }
    case 'empty':
      if (bytes.length === 0) return undefined;
      files.put(path, Buffer.alloc(0));
      return done('');
    case 'delete':
      if (bytes.length === 0) return undefined;
      files.remove(path);
      return done('');
    case 'link':
      files.putLink(path);
      return done('');
    case 'swap':
    case 'duplicate': {
      const others = candidates.filter((one) => one !== path);
      if (others.length === 0) return undefined;
      const other = others[below(others.length)]!;
      const otherBytes = files.contents(other);
      if (otherBytes.equals(bytes)) return undefined;
      files.put(path, otherBytes);
      if (kind === 'swap') files.put(other, bytes);
      return done(` with ${other.slice(root.length + 1)}`);
    }
    case 'stale file':
    case 'stale chunk': {
      const older = prepared.older[below(prepared.older.length)]!;
      // A file whose name is a number has an older state only where it was still being written.
      const source = older.files().includes(path) ? path : undefined;
      if (source === undefined) return undefined;
      const old = older.contents(source);
      if (kind === 'stale file') {
        if (old.equals(bytes)) return undefined;
        files.put(path, old);
        return done('');
      }
      const unit = random() < 0.5 ? 512 : 4096;
      const at = below(Math.ceil(Math.max(1, bytes.length) / unit)) * unit;
      const end = Math.min(at + unit, bytes.length);
      bytes.fill(0, at, end);
      if (at < old.length) old.copy(bytes, at, at, Math.min(end, old.length));
      return put(` at ${at}`);
    }
  }
}

export function kindOfFile(path: string): string {
  const mirrored = path.includes('/mirror/') ? 'mirror ' : '';
  if (path.endsWith('MANIFEST')) return `${mirrored}manifest`;
  return `${mirrored}${path.slice(path.lastIndexOf('.') + 1)}`;
}
