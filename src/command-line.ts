/** The flags of the program. Knows nothing of what they do. */
import { parseArgs } from 'node:util';
import { logLevels } from './telemetry/log.ts';
import type { LogLevel } from './util/log.ts';

/** A command line that cannot be understood. The message is for whoever typed it. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export interface CommandLine {
  /** HOST:PORT each. */
  readonly listen: readonly string[];
  /** HOST:PORT each, in the order of `listen`. */
  readonly advertise: readonly string[];
  readonly dataDirectory: string | undefined;
  readonly memory: boolean;
  /** HOST:PORT. */
  readonly admin: string | undefined;
  readonly configFile: string | undefined;
  /** key=value each, split. */
  readonly set: ReadonlyMap<string, string>;
  readonly acceptLoss: boolean;
  readonly virtualClock: boolean;
  readonly logLevel: LogLevel;
  readonly help: boolean;
  readonly version: boolean;
}

export const usage = `Usage: odradek [options]
       odradek log dump|verify|repair DIR    look at a data directory without the broker; --help says more
       odradek backup DEST --admin HOST:PORT | --data DIR   a copy of all data (odradek backup --help)
       odradek dlq list|redrive|jobs|job|stop|resume ... --admin HOST:PORT   dead letters (odradek dlq --help)

  --listen HOST:PORT     where clients connect; localhost:9092 unless set; may be given again
  --advertise HOST:PORT  what clients are told to connect to, one for each --listen
  --data DIR             where the data lies; ./data unless set
  --memory               keep everything in memory and nothing on disk
  --config FILE          settings in the form of Kafka's server.properties
  --set KEY=VALUE        one setting; may be given again
  --admin HOST:PORT      health, metrics and status over HTTP; off unless set, loopback only
  --accept-loss          start even where durable data is damaged, and say what is lost
  --virtual-clock        for development: time can be moved on over --admin, for good in this data directory
  --log-level LEVEL      ${logLevels.join(', ')}; info unless set
  --help, --version

Settings come from, each over the one before: defaults, --config, KAFKA_* environment variables, --set, flags.
`;

/** `args` without the program itself. Throws UsageError. */
export function parseCommandLine(args: readonly string[]): CommandLine {
  let values: ReturnType<typeof parse>['values'];
  try {
    values = parse(args).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const set = new Map<string, string>();
  for (const text of values.set ?? []) {
    const at = text.indexOf('=');
    if (at < 1) throw new UsageError(`--set ${text}: not of the form KEY=VALUE`);
    set.set(text.slice(0, at).trim(), text.slice(at + 1));
  }
  const level = values['log-level'] ?? 'info';
  if (!logLevels.some((known) => known === level)) {
    throw new UsageError(`--log-level ${level}: not one of ${logLevels.join(', ')}`);
  }
  const advertise = values.advertise ?? [];
  const listen = values.listen ?? [];
  if (advertise.length > Math.max(1, listen.length)) {
    throw new UsageError('there are more --advertise than --listen');
  }
  return {
    listen,
    advertise,
    dataDirectory: values.data,
    memory: values.memory ?? false,
    admin: values.admin,
    configFile: values.config,
    set,
    acceptLoss: values['accept-loss'] ?? false,
    virtualClock: values['virtual-clock'] ?? false,
    logLevel: level as LogLevel,
    help: values.help ?? false,
    version: values.version ?? false,
  };
}

function parse(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    strict: true,
    allowPositionals: false,
    options: {
      listen: { type: 'string', multiple: true },
      advertise: { type: 'string', multiple: true },
      data: { type: 'string' },
      memory: { type: 'boolean' },
      admin: { type: 'string' },
      config: { type: 'string' },
      set: { type: 'string', multiple: true },
      'accept-loss': { type: 'boolean' },
      'virtual-clock': { type: 'boolean' },
      'log-level': { type: 'string' },
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean', short: 'v' },
    },
  });
}
