/** The README's examples, run as they stand there, against a broker of the built package on another port and folder. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, createBroker } from '../../src/index.ts';

const readme = readFileSync('README.md', 'utf8');
const blocks = [...readme.matchAll(/```(\w+)\n([\s\S]*?)```/g)].map((match) => ({
  language: match[1] ?? '',
  code: match[2] ?? '',
}));
const programs = blocks.filter((block) => block.language === 'js').map((block) => block.code);

let broker: Broker;
let folder: string;

beforeAll(async () => {
  broker = await createBroker({ listen: '127.0.0.1:0', memory: true, admin: '127.0.0.1:0' });
  folder = mkdtempSync(join(tmpdir(), 'odradek-readme-'));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(resolve('.'), join(folder, 'node_modules/odradek'));
  symlinkSync(resolve('node_modules/kafkajs'), join(folder, 'node_modules/kafkajs'));
});

afterAll(async () => {
  await broker.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs a program until it prints `wanted` or ends; returns what it printed. */
async function run(code: string, wanted: string): Promise<string> {
  const file = join(folder, `example-${Math.random().toString(36).slice(2)}.mjs`);
  writeFileSync(
    file,
    code
      .replaceAll('localhost:9092', broker.bootstrapServers)
      .replaceAll('localhost:9090', `127.0.0.1:${broker.adminPort}`),
  );
  const child = spawn(process.execPath, [file], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, KAFKAJS_NO_PARTITIONER_WARNING: '1' },
  });
  let printed = '';
  await new Promise<void>((done) => {
    const take = (chunk: Buffer): void => {
      printed += chunk.toString();
      if (printed.includes(wanted)) done();
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.once('close', () => done());
  });
  child.kill('SIGKILL');
  return printed;
}

describe('README', () => {
  it('has the two set-up lines and nothing else to set up', () => {
    expect(blocks[0]).toEqual({ language: 'sh', code: 'npm ci && npm start\nnpm ci && npm test\n' });
  });

  it('kafkajs example: sends and reads an order', async () => {
    const program = programs.find((code) => code.includes("from 'kafkajs'"));
    expect(program).toBeDefined();
    expect(await run(program ?? '', 'k1: first')).toContain('k1: first');
  });

  it('delay example: gets the message, and not early', async () => {
    const program = programs.find((code) => code.includes("from 'odradek/kafkajs'"));
    expect(program).toBeDefined();
    const printed = await run(program ?? '', 'not early');
    expect(printed).toContain('two seconds later, not early: true');
  });

  it('retries example: fails once and is done then', async () => {
    const program = programs.find((code) => code.includes('consumeWithRetries'));
    expect(program).toBeDefined();
    expect(await run(program ?? '', 'done after')).toContain('pay me: done after 1 failure');
  });

  it('half message example: gets the transfer', async () => {
    const program = programs.find((code) => code.includes('executeLocal'));
    expect(program).toBeDefined();
    expect(await run(program ?? '', 'transferred 20 to bob')).toContain('transferred 20 to bob');
  });

  it('createBroker example: prints an address and ends', async () => {
    const program = programs.find((code) => code.includes("from 'odradek'"));
    expect(program).toBeDefined();
    expect(await run(program ?? '', 'never printed')).toMatch(/^127\.0\.0\.1:\d+\n$/);
  });

  it('names only flags that the broker knows', () => {
    const help = execFileSync(process.execPath, ['dist/main.js', '--help']).toString();
    const flags = [...readme.matchAll(/`(--[a-z]+)/g)].map((match) => match[1] ?? '');
    expect(flags.length).toBeGreaterThan(4);
    for (const flag of flags) expect(help).toContain(flag);
  });

  it('links only to files that exist', () => {
    for (const match of readme.matchAll(/\]\(([^)#]+)\)/g)) {
      expect(() => readFileSync(match[1] ?? ''), match[1]).not.toThrow();
    }
  });
});
