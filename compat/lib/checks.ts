/** Runs a client's script and reads the lines it prints: `pass NAME`, `fail NAME`, `skip NAME`, `version TEXT`. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { PeerBroker } from './broker-process.ts';

export interface Check {
  readonly state: 'pass' | 'fail' | 'skip' | 'version';
  readonly name: string;
}

export interface RunSettings {
  readonly cacheDirectory: string;
  readonly short: boolean;
}

const longestRunMs = 30 * 60_000;

export async function runChecks(script: string, broker: PeerBroker, settings: RunSettings): Promise<Check[]> {
  const checks = new Map<string, Check>();
  const child = spawn('bash', [script, broker.address], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
    env: {
      ...process.env,
      COMPAT_CACHE: settings.cacheDirectory,
      COMPAT_FORM: settings.short ? 'short' : 'long',
      COMPAT_CONTROL: broker.controlUrl,
    },
  });
  const timer = setTimeout(() => {
    process.stderr.write(`${script} took longer than ${longestRunMs / 60_000} minutes\n`);
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  }, longestRunMs);
  const exited = new Promise<number | null>((done) => child.once('exit', (code) => done(code)));
  for await (const line of createInterface({ input: child.stdout })) {
    const match = /^(pass|fail|skip|version) (.+)$/.exec(line);
    if (match === null) {
      process.stderr.write(`${line}\n`);
      continue;
    }
    const check: Check = { state: match[1] as Check['state'], name: (match[2] ?? '').trim() };
    // A name that was seen twice passed only if it passed both times.
    const earlier = checks.get(check.name);
    if (earlier === undefined || earlier.state === 'pass') checks.set(check.name, check);
    if (check.state === 'fail') process.stdout.write(`fail ${check.name}\n`);
  }
  await exited;
  clearTimeout(timer);
  return [...checks.values()];
}
