// Builds dist/: the bundled broker and library. --if-stale builds only what is missing or older than its sources;
// --types also writes the declarations that the package publishes.
import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bundle, isStale, root, writeStamp } from './bundle.mjs';
import { generateIfStale } from './generate.mjs';

const stamp = 'dist/.stamp';

export async function buildIfStale() {
  if (!existsSync(join(root, 'src'))) return; // an installed package ships dist/ alone
  await generateIfStale();
  if (isStale(stamp, 'src', 'protocol', 'scripts', 'package.json')) await build();
}

export async function build({ types = false } = {}) {
  await generateIfStale();
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  await bundle(
    { main: 'src/main.ts', index: 'src/index.ts', kafkajs: 'src/kafkajs/index.ts' },
    join(root, 'dist'),
  );
  if (types) {
    execFileSync(
      process.execPath,
      [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'tsconfig.types.json')],
      {
        stdio: 'inherit',
      },
    );
  }
  writeStamp(stamp);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await (process.argv.includes('--if-stale')
    ? buildIfStale()
    : build({ types: process.argv.includes('--types') }));
}
