// `npm run check`: what must hold before a commit. Formatting and lint, types, import direction, then the tests unless --fast.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root } from './bundle.mjs';
import { generateIfStale } from './generate.mjs';

const bin = (name) => join(root, 'node_modules/.bin', name);
const steps = [
  ['format and lint', bin('biome'), ['check', '--error-on-warnings', '.']],
  ['types', bin('tsc'), ['-p', 'tsconfig.json']],
  ['import direction', bin('depcruise'), ['--config', '.dependency-cruiser.cjs', 'src', 'protocol']],
];
if (!process.argv.includes('--fast')) steps.push(['tests', 'npm', ['test']]);

await generateIfStale();
let failed = 0;
for (const [name, command, args] of steps) {
  const started = Date.now();
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  console.log(`${status === 0 ? 'ok  ' : 'FAIL'} ${name} (${seconds} s)`);
  if (status !== 0) failed++;
}
process.exit(failed === 0 ? 0 : 1);
