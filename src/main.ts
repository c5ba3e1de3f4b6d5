/** The program: reads the settings, starts the broker, says when it is ready, ends on signals. */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { parseCommandLine, UsageError, usage } from './command-line.ts';
import { loadConfig, type StartConfig, StartConfigError } from './config.ts';
import { ListenError } from './connection/listener.ts';
import { Gateway } from './gateway/gateway.ts';
import { StartError } from './gateway/start-error.ts';
import { createLog } from './telemetry/log.ts';
import { SystemClock } from './util/clock.ts';
import type { Log } from './util/log.ts';
import { packageVersion } from './version.ts';

const exitCodes = { failed: 1, usage: 2, broken: 70, signal: 128 } as const;

async function main(): Promise<void> {
  if (process.argv[2] === 'log') {
    const { runLogCommand } = await import('./tools/log/log-command.ts');
    const streams = { out: process.stdout, err: process.stderr };
    process.exitCode = await runLogCommand(process.argv.slice(3), streams);
    return;
  }
  if (process.argv[2] === 'backup') {
    const { backupCommand } = await import('./tools/backup/backup-command.ts');
    process.exitCode = await backupCommand(process.argv.slice(3), process.stdout, process.stderr);
    return;
  }
  if (process.argv[2] === 'dlq') {
    const { dlqCommand } = await import('./tools/dlq/dlq-command.ts');
    process.exitCode = await dlqCommand(process.argv.slice(3), process.stdout, process.stderr);
    return;
  }
  const commandLine = parseCommandLine(process.argv.slice(2));
  if (commandLine.help) {
    process.stdout.write(usage);
    return;
  }
  if (commandLine.version) {
    process.stdout.write(`${packageVersion()}\n`);
    return;
  }
  const log = createLog({
    level: commandLine.logLevel,
    readable: process.stdout.isTTY === true,
    write: (line) => void process.stdout.write(line),
  });
  process.on('uncaughtException', (error) =>
    die(log, error, 'an error that nobody handled', exitCodes.broken),
  );
  process.on('unhandledRejection', (reason) => {
    const error = reason instanceof Error ? reason : new Error(String(reason));
    die(log, error, 'a rejection that nobody handled', exitCodes.broken);
  });
  // Before anything is open: a signal during a long recovery ends the process as the system would.
  process.on('SIGUSR1', () => log.info({}, 'SIGUSR1 does nothing here'));
  process.on('SIGHUP', () => log.info({}, 'SIGHUP does nothing yet'));

  const config = loadConfig({
    commandLine,
    environment: process.env,
    readFile: (path) => readFileSync(path, 'utf8'),
    hostName: hostname(),
  });
  for (const { level, message } of config.remarks) log[level]({}, message);

  const gateway = await Gateway.start({
    config,
    clock: new SystemClock(),
    log,
    onFatal: (error) => die(log, error, 'the broker cannot go on', exitCodes.broken),
  });
  stopOnSignals(gateway, log);
  log.info({}, readyLine(gateway, config));
}

/** The one line that says that clients can come. */
function readyLine(gateway: Gateway, config: StartConfig): string {
  const addresses = config.listeners.plans
    .map((plan, index) => `${shownHost(plan.address.host)}:${gateway.port(index)}`)
    .join(', ');
  const told = gateway.listeners
    .filter((listener, index) => {
      const address = config.listeners.plans[index]!.address;
      return listener.advertisedHost !== address.host || listener.advertisedPort !== gateway.port(index);
    })
    .map(
      (listener) =>
        `, clients of ${listener.name} are told ${listener.advertisedHost}:${listener.advertisedPort}`,
    )
    .join('');
  const data = config.memory ? 'in memory' : `data ${config.dataDirectory}`;
  const admin =
    gateway.adminPort === undefined ? '' : `, admin on ${config.admin?.host}:${gateway.adminPort}`;
  const seconds = process.uptime().toFixed(2);
  return `odradek ${gateway.version} ready on ${addresses} (${data}, node ${gateway.nodeId}${told}${admin}) in ${seconds} s`;
}

function shownHost(host: string): string {
  if (host === '') return '*';
  return host.includes(':') ? `[${host}]` : host;
}

function stopOnSignals(gateway: Gateway, log: Log): void {
  let signals = 0;
  const stop = (signal: NodeJS.Signals): void => {
    signals += 1;
    if (signals > 1) {
      log.warn({ signal }, 'stopped at once');
      process.exit(exitCodes.signal + (signal === 'SIGINT' ? 2 : 15));
    }
    const startedMs = performance.now();
    log.info({ signal }, 'stopping: finishing what is under way; the same signal again stops at once');
    gateway.stop().then(
      () => {
        log.info({}, `stopped in ${((performance.now() - startedMs) / 1000).toFixed(2)} s`);
        process.exit(0);
      },
      (error: unknown) => die(log, error as Error, 'could not stop cleanly', exitCodes.failed),
    );
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
}

function die(log: Log, error: Error, what: string, code: number): never {
  log.error({ error }, `${what}: ${error.message}`);
  process.exit(code);
}

/** What an operator can put right gets one line; anything else its stack. */
function isForOperator(error: unknown): error is Error {
  return error instanceof StartConfigError || error instanceof StartError || error instanceof ListenError;
}

main().catch((error: unknown) => {
  if (error instanceof UsageError) {
    process.stderr.write(`odradek: ${error.message}\n\n${usage}`);
    process.exit(exitCodes.usage);
  }
  const text = isForOperator(error) ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`odradek: ${text}\n`);
  process.exit(exitCodes.failed);
});
