/** The flags of `odradek log`. Knows nothing of what they do. */
import { parseArgs } from 'node:util';
import { UsageError } from '../../command-line.ts';

export const logUsage = `Usage: odradek log dump|verify|repair DIR [options]

Looks at a data directory without the broker.

  dump DIR               what is in it, entry by entry
    --queue N            of this queue only
    --topic NAME[-P]     of this topic, or of its partition P, only
    --from N, --to N     offsets of the queue, from N up to before N
    --location PLACE     from this place in the log on (segment:byte)
    --limit N            so many entries at most
    --records            open the batches: keys, values and headers too
    --show LIST          instead of entries: manifest, catalogue, queues, snapshots, runs, rows, index; with commas
  verify DIR             reads everything and says all that is damaged
  repair DIR             makes the directory one that starts: copies from each other, indexes from the log; what cannot be
                         read is noted as lost, and every byte that is replaced is kept in DIR/repair-TIME
    --dry-run            say what would be done

  --json                 one JSON object a line
  --help

dump and verify may run beside a broker, and then look at what is durable; repair refuses.
Exit codes: 0 all is well; 1 damage was found, or could not all be repaired; 2 not understood, or refused.
`;

export type LogAction = 'dump' | 'verify' | 'repair';

export interface LogCommandLine {
  readonly action: LogAction;
  readonly directory: string;
  readonly isJson: boolean;
  readonly isDryRun: boolean;
  readonly queue: number | undefined;
  readonly topic: string | undefined;
  readonly fromOffset: number | undefined;
  readonly toOffset: number | undefined;
  /** Segment and byte. */
  readonly location: readonly [number, number] | undefined;
  readonly limit: number;
  readonly withRecords: boolean;
  readonly show: readonly string[];
}

const shown = ['manifest', 'catalogue', 'queues', 'snapshots', 'runs', 'rows', 'index'];

/** `args` behind `log`. Undefined: help is asked for. Throws UsageError. */
export function parseLogCommandLine(args: readonly string[]): LogCommandLine | undefined {
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(args);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const { values, positionals } = parsed;
  if (values.help === true) return undefined;
  const [action, directory, ...rest] = positionals;
  if (action !== 'dump' && action !== 'verify' && action !== 'repair') {
    throw new UsageError(`log ${action ?? ''}: not one of dump, verify, repair`);
  }
  if (directory === undefined || rest.length > 0) throw new UsageError(`log ${action} takes one directory`);
  const show = values.show?.split(',') ?? [];
  for (const one of show) {
    if (!shown.includes(one)) throw new UsageError(`--show ${one}: not one of ${shown.join(', ')}`);
  }
  if (action !== 'dump') {
    for (const flag of ['queue', 'topic', 'from', 'to', 'location', 'limit', 'records', 'show'] as const) {
      if (values[flag] !== undefined) throw new UsageError(`--${flag} belongs to log dump`);
    }
  }
  if (action !== 'repair' && values['dry-run'] !== undefined) {
    throw new UsageError('--dry-run belongs to log repair');
  }
  return {
    action,
    directory,
    isJson: values.json === true,
    isDryRun: values['dry-run'] === true,
    queue: numberOf('queue', values.queue),
    topic: values.topic,
    fromOffset: numberOf('from', values.from),
    toOffset: numberOf('to', values.to),
    location: placeOf(values.location),
    limit: numberOf('limit', values.limit) ?? Number.POSITIVE_INFINITY,
    withRecords: values.records === true,
    show,
  };
}

function numberOf(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
    throw new UsageError(`--${flag} ${text}: not a number`);
  return value;
}

function placeOf(text: string | undefined): readonly [number, number] | undefined {
  if (text === undefined) return undefined;
  const match = /^(\d{1,10}):(\d{1,10})$/.exec(text);
  if (match === null) throw new UsageError(`--location ${text}: not of the form SEGMENT:BYTE`);
  return [Number(match[1]), Number(match[2])];
}

function parse(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    strict: true,
    allowPositionals: true,
    options: {
      queue: { type: 'string' },
      topic: { type: 'string' },
      from: { type: 'string' },
      to: { type: 'string' },
      location: { type: 'string' },
      limit: { type: 'string' },
      records: { type: 'boolean' },
      show: { type: 'string' },
      json: { type: 'boolean' },
      'dry-run': { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
}
