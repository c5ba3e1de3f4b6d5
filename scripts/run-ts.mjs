// Runs one of the project's TypeScript programs: node scripts/run-ts.mjs path/to/file.ts [args ...]
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bundle, root } from './bundle.mjs';
import { generateIfStale } from './generate.mjs';

const [entry, ...args] = process.argv.slice(2);
if (!entry) throw new Error('usage: run-ts.mjs FILE.ts [args ...]');
if (!entry.startsWith('protocol/generator/')) await generateIfStale();
const name = entry.replace(/\.ts$/, '').replaceAll('/', '-');
const out = join(root, '.cache/run');
await bundle({ [name]: entry }, out);
process.argv = [process.argv[0], join(root, entry), ...args];
await import(pathToFileURL(join(out, `${name}.js`)).href);
