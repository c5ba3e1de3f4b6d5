// Makes protocol/generated/ from the definitions in protocol/messages/. With --if-stale only when a source is newer.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bundle, isStale, root, writeStamp } from './bundle.mjs';

const stamp = 'protocol/generated/.stamp';
export const generatorSources = [
  'protocol/messages',
  'protocol/generator',
  'scripts/bundle.mjs',
  'scripts/generate.mjs',
];

export async function generateIfStale() {
  if (isStale(stamp, ...generatorSources)) await generate();
}

export async function generate() {
  rmSync(join(root, 'protocol/generated'), { recursive: true, force: true });
  const out = join(root, '.cache/generator');
  await bundle({ generate: 'protocol/generator/generate.ts' }, out);
  const { generateAll } = await import(`${pathToFileURL(join(out, 'generate.js')).href}?${Date.now()}`);
  generateAll(join(root, 'protocol/messages'), join(root, 'protocol/generated'));
  writeStamp(stamp);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await (process.argv.includes('--if-stale') ? generateIfStale() : generate());
}
