// `npm start`: builds what is missing or stale, then runs the built broker in this process.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { buildIfStale } from './build.mjs';
import { root } from './bundle.mjs';

await buildIfStale();
await import(pathToFileURL(join(root, 'dist/main.js')).href);
