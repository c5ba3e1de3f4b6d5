// Makes test/vectors/records.jsonl.gz anew: record sets of every format and codec as the official Java client writes them.
// Needs `mvn` and a JDK (17 or later). Usage: node test/vectors/records-generator/generate.mjs
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const here = dirname(fileURLToPath(import.meta.url));
const work = join(resolve(here, '../../..'), '.cache/record-vectors');
const output = join(work, 'records.jsonl');
const SEED = '20240607';

mkdirSync(work, { recursive: true });
execFileSync(
  'mvn',
  [
    ...['-q', '-B', '-f', join(here, 'pom.xml'), `-Dvectors.work=${work}`],
    ...['compile', 'exec:java', '-Dexec.mainClass=GenerateRecordVectors', `-Dexec.args=${output} ${SEED}`],
  ],
  { stdio: 'inherit' },
);
writeFileSync(join(here, '../records.jsonl.gz'), gzipSync(readFileSync(output), { level: 9 }));
