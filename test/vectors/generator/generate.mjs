// Makes test/vectors/messages.jsonl.gz, messages-before-4.0.jsonl.gz and errors.json anew: what the official Java client writes for
// values that a seed chooses. Needs `mvn` and a JDK (17 or later). Usage: node test/vectors/generator/generate.mjs
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../../..');
const work = join(root, '.cache/vectors');
const SEED = '20240607';

/** The messages that protocol/messages/ defines, by Kafka's names. */
function messageNames() {
  const directory = join(root, 'protocol/messages');
  const names = [];
  for (const file of readdirSync(directory).sort()) {
    const text = readFileSync(join(directory, file), 'utf8');
    const api = /^api \d+ (\w+)/m.exec(text);
    if (api !== null) names.push(`${api[1]}Request`, `${api[1]}Response`);
    else {
      const data = /^(?:data|(?:coordinator-key|coordinator-value|metadata) \d+) (\w+)/m.exec(text);
      if (data !== null) names.push(data[1]);
    }
  }
  return names;
}

function run(version, profiles, output, seed, before, errors) {
  const args = [join(work, 'names.txt'), output, seed, before, errors].join(' ');
  execFileSync(
    'mvn',
    [
      ...[
        '-q',
        '-B',
        '-f',
        join(here, 'pom.xml'),
        ...profiles,
        `-Dkafka.version=${version}`,
        `-Dvectors.work=${join(work, version)}`,
      ],
      ...['compile', 'exec:java', '-Dexec.mainClass=GenerateVectors', `-Dexec.args=${args}`],
    ],
    { stdio: 'inherit' },
  );
}

mkdirSync(work, { recursive: true });
writeFileSync(join(work, 'names.txt'), `${messageNames().join('\n')}\n`);
const current = join(work, 'messages.jsonl');
const old = join(work, 'messages-before-4.0.jsonl');
const errors = join(work, 'errors.json');
run('4.4.0', ['-Precords'], current, SEED, '-', errors);
run('3.9.1', [], old, SEED, current, '-');
for (const [source, name] of [
  [current, 'messages.jsonl.gz'],
  [old, 'messages-before-4.0.jsonl.gz'],
]) {
  writeFileSync(join(here, '..', name), gzipSync(readFileSync(source), { level: 9 }));
}
writeFileSync(
  join(here, '../errors.json'),
  `${JSON.stringify(JSON.parse(readFileSync(errors, 'utf8')), null, 2)}\n`,
);
