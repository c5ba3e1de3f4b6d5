// Bundles TypeScript entry points with esbuild; packages stay external. Used by every script that runs our TypeScript.
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

/** Bundles `entries` (name -> source path from the root) into `outDirectory`. */
export async function bundle(entries, outDirectory) {
  const { build } = await import('esbuild');
  mkdirSync(outDirectory, { recursive: true });
  await build({
    absWorkingDir: root,
    entryPoints: entries,
    outdir: outDirectory,
    bundle: true,
    splitting: Object.keys(entries).length > 1,
    platform: 'node',
    format: 'esm',
    target: 'node20.19',
    packages: 'external',
    sourcemap: 'linked',
    sourcesContent: false,
    logLevel: 'warning',
    chunkNames: 'chunk-[hash]',
  });
}

/** Newest modification time (ms) of the files under the paths given, which may be files or folders. */
export function newestMs(...paths) {
  let newest = 0;
  for (const path of paths) {
    const full = resolve(root, path);
    if (!existsSync(full)) continue;
    const info = statSync(full);
    if (info.isDirectory()) {
      for (const entry of readdirSync(full)) newest = Math.max(newest, newestMs(join(full, entry)));
    } else newest = Math.max(newest, info.mtimeMs);
  }
  return newest;
}

/** True where `stamp` is missing or older than any of the sources. */
export function isStale(stamp, ...sources) {
  const full = resolve(root, stamp);
  return !existsSync(full) || statSync(full).mtimeMs < newestMs(...sources);
}

export function writeStamp(stamp) {
  const full = resolve(root, stamp);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, `${new Date().toISOString()}\n`);
}
