/**
 * `npm run compat [-- NAME ...] [--short] [--kafka] [--update]`: runs real clients and other people's suites against a fresh
 * broker each and holds the outcome against the list of what must pass.
 *
 * A client is a folder here: `run.sh` (installs the client from its registry into the cache, runs it, prints a line
 * `pass NAME`, `fail NAME` or `skip NAME` a check), `must-pass.txt` (the names that must pass), `broker.properties`
 * (settings of the fresh broker, optional) and FINDINGS.md. --kafka runs real Apache Kafka instead (Java and Maven needed); --accept
 * adds what passed to the list of what must.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { type PeerBroker, startKafka, startOdradek } from './lib/broker-process.ts';
import { runChecks } from './lib/checks.ts';
import { type ResultLine, readResults, writeReport } from './lib/report.ts';

const compatDirectory = resolve('compat');
const cacheDirectory =
  process.env['COMPAT_CACHE'] ??
  join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'odradek-compat');

interface Options {
  readonly clients: readonly string[];
  readonly short: boolean;
  readonly kafka: boolean;
  readonly update: boolean;
  readonly accept: boolean;
}

function parseOptions(args: readonly string[]): Options {
  const known = readdirSync(compatDirectory)
    .filter((name) => existsSync(join(compatDirectory, name, 'run.sh')))
    .sort();
  const flags = args.filter((arg) => arg.startsWith('--'));
  for (const flag of flags) {
    if (!['--short', '--kafka', '--update', '--accept'].includes(flag))
      throw new Error(`unknown flag ${flag}`);
  }
  const named = args.filter((arg) => !arg.startsWith('--'));
  for (const name of named) {
    if (!known.includes(name)) throw new Error(`no client ${name}; there are ${known.join(', ')}`);
  }
  return {
    clients: named.length > 0 ? named : known,
    short: flags.includes('--short'),
    kafka: flags.includes('--kafka'),
    accept: flags.includes('--accept'),
    update: flags.includes('--update') || (!flags.includes('--short') && !flags.includes('--kafka')),
  };
}

function listed(path: string): string[] {
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

async function runClient(name: string, options: Options): Promise<ResultLine & { broken: string[] }> {
  const folder = join(compatDirectory, name);
  const settings = listed(join(folder, 'broker.properties'));
  const started = Date.now();
  const broker: PeerBroker = options.kafka
    ? await startKafka(cacheDirectory, settings)
    : await startOdradek(settings);
  try {
    const checks = await runChecks(join(folder, 'run.sh'), broker, { cacheDirectory, short: options.short });
    const passed = new Set(checks.filter((check) => check.state === 'pass').map((check) => check.name));
    const list = join(folder, options.short ? 'must-pass-short.txt' : 'must-pass.txt');
    if (options.accept)
      writeFileSync(list, `${[...new Set([...listed(list), ...passed])].sort().join('\n')}\n`);
    const mustPass = listed(list);
    // A check outside the list may fail; one on the list that did not run counts as failed.
    const broken = mustPass.filter((check) => !passed.has(check));
    if (mustPass.length === 0) throw new Error(`${list} lists nothing that must pass`);
    return {
      client: name,
      broker: options.kafka ? 'kafka' : 'odradek',
      form: options.short ? 'short' : 'long',
      passed: passed.size,
      failed: checks.filter((check) => check.state === 'fail').length,
      skipped: checks.filter((check) => check.state === 'skip').length,
      mustPass: mustPass.length,
      seconds: Math.round((Date.now() - started) / 1000),
      date: new Date().toISOString().slice(0, 10),
      version: checks.find((check) => check.state === 'version')?.name ?? '',
      broken,
    };
  } finally {
    await broker.stop();
  }
}

const options = parseOptions(process.argv.slice(2));
mkdirSync(cacheDirectory, { recursive: true });
let passed = 0;
let failed = 0;
const results = readResults(join(compatDirectory, 'results.jsonl'));
for (const client of options.clients) {
  process.stdout.write(`== ${client}\n`);
  const { broken, ...line } = await runClient(client, options);
  passed += line.mustPass - broken.length;
  failed += broken.length;
  for (const check of broken) process.stdout.write(`FAILED ${client}: ${check}\n`);
  process.stdout.write(
    `${client} ${line.version}: ${line.passed} passed, ${line.failed} failed, ${line.skipped} skipped; ` +
      `${line.mustPass - broken.length} of ${line.mustPass} that must pass; ${line.seconds} s\n`,
  );
  results.set(`${line.client} ${line.broker} ${line.form}`, line);
}
if (options.update || options.kafka) {
  writeFileSync(
    join(compatDirectory, 'results.jsonl'),
    `${[...results.values()]
      .map((line) => JSON.stringify(line))
      .sort()
      .join('\n')}\n`,
  );
  writeReport(join(compatDirectory, 'report.md'), results);
}
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
