/** `odradek dlq`: dead letters of a running broker, looked at and sent on over its HTTP side. */
import { request } from 'node:http';
import { parseArgs } from 'node:util';
import { parseHostPort } from '../../connection/listener-config.ts';

export const dlqUsage = `Usage: odradek dlq list GROUP --admin HOST:PORT [filter] [--limit N] [--next TEXT]
       odradek dlq redrive GROUP --to WHERE --admin HOST:PORT [filter] [--only PARTITION/OFFSET] [--rate N]
                                 [--max-redrives N] [--dry-run]
       odradek dlq jobs --admin HOST:PORT
       odradek dlq job|stop|resume ID --admin HOST:PORT

list shows what a group gave up, one letter a line. redrive sends letters on; it is a job of the broker that goes on when this
command ends and when the broker starts again. The letters stay where they are.

  --admin HOST:PORT   the broker's HTTP side (its own --admin)
  --to WHERE          origin: to the topic in which it failed first, where every group reads it
                      retry: to the group's retry topic, for the group alone
                      topic:NAME: to that topic
  --only P/O          the one letter at that partition and offset
  --rate N            letters a second; 100 unless set
  --max-redrives N    leave alone what was sent on so often; 3 unless set
  --dry-run           say what would be done, and do nothing
  --json              answers as the broker gives them
  --help

Filter, all of which must hold: --reason exhausted|rejected|requested|poison|origin-gone, --topic NAME (where it failed first),
--error TEXT (part of what went wrong), --from TIME, --until TIME (when it was given up, such as 2026-01-31T12:00:00Z)
`;

interface Output {
  write(text: string): unknown;
}

const exitCodes = { done: 0, failed: 1, usage: 2 } as const;

class DlqUsageError extends Error {
  override readonly name = 'DlqUsageError';
}

/** The process' exit code. `args` without the program and `dlq`. */
export async function dlqCommand(args: readonly string[], output: Output, errors: Output): Promise<number> {
  try {
    const { values, positionals } = parse(args);
    if (values.help === true || positionals.length === 0) {
      output.write(dlqUsage);
      return values.help === true ? exitCodes.done : exitCodes.usage;
    }
    const { method, path, body, show } = requestOf(positionals, values);
    if (values.admin === undefined) throw new DlqUsageError('--admin HOST:PORT is missing');
    const answer = await ask(values.admin, method, path, body);
    output.write(values.json === true ? `${JSON.stringify(answer, null, 2)}\n` : show(answer));
    return exitCodes.done;
  } catch (error) {
    const isUsage =
      error instanceof DlqUsageError || (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS');
    errors.write(`odradek dlq: ${(error as Error).message}\n${isUsage === true ? `\n${dlqUsage}` : ''}`);
    return isUsage === true ? exitCodes.usage : exitCodes.failed;
  }
}

function parse(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    strict: true,
    allowPositionals: true,
    options: {
      admin: { type: 'string' },
      to: { type: 'string' },
      only: { type: 'string' },
      rate: { type: 'string' },
      'max-redrives': { type: 'string' },
      'dry-run': { type: 'boolean' },
      reason: { type: 'string' },
      topic: { type: 'string' },
      error: { type: 'string' },
      from: { type: 'string' },
      until: { type: 'string' },
      limit: { type: 'string' },
      next: { type: 'string' },
      json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
}

type Values = ReturnType<typeof parse>['values'];
type Json = Readonly<Record<string, unknown>>;

interface Asked {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: Json;
  show(answer: Json): string;
}

function requestOf([word, subject, ...more]: readonly string[], values: Values): Asked {
  if (more.length > 0) throw new DlqUsageError(`${more[0]} is one word too many`);
  if (word === 'jobs') {
    const show = ({ jobs }: Json) => (jobs as Json[]).map(shownJob).join('') || 'There are no redrives.\n';
    return { method: 'GET', path: 'dead-letter-jobs', show };
  }
  if (subject === undefined)
    throw new DlqUsageError('what is it about? A GROUP or the ID of a job is missing');
  const name = encodeURIComponent(subject);
  switch (word) {
    case 'list': {
      const query = new URLSearchParams({
        ...filterOf(values),
        ...some({ limit: values.limit, next: values.next }),
      });
      return { method: 'GET', path: `groups/${name}/dead-letters?${query}`, show: shownLetters };
    }
    case 'redrive': {
      if (values.to === undefined) throw new DlqUsageError('--to origin, retry or topic:NAME is missing');
      const body = {
        to: values.to,
        ...filterOf(values),
        ...onlyOf(values.only),
        ...(values.rate === undefined ? {} : { rate: wholeNumber('--rate', values.rate) }),
        ...(values['max-redrives'] === undefined
          ? {}
          : { maxRedrives: wholeNumber('--max-redrives', values['max-redrives']) }),
        ...(values['dry-run'] === true ? { dryRun: true } : {}),
      };
      const show = values['dry-run'] === true ? shownDryRun : shownJob;
      return { method: 'POST', path: `groups/${name}/dead-letters/redrive`, body, show };
    }
    case 'job':
      return { method: 'GET', path: `dead-letter-jobs/${name}`, show: shownJob };
    case 'stop':
    case 'resume':
      return { method: 'POST', path: `dead-letter-jobs/${name}/${word}`, show: shownJob };
    default:
      throw new DlqUsageError(`${word} is none of list, redrive, jobs, job, stop, resume`);
  }
}

function filterOf({ reason, topic, error, from, until }: Values): Record<string, string> {
  return some({ reason, topic, error, from, until });
}

function some(values: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).filter((each): each is [string, string] => each[1] !== undefined),
  );
}

function onlyOf(place: string | undefined): Json {
  if (place === undefined) return {};
  const parts = /^([0-9]{1,9})\/([0-9]{1,15})$/.exec(place);
  if (parts === null) throw new DlqUsageError(`--only ${place}: not of the form PARTITION/OFFSET`);
  return { partition: Number(parts[1]), offset: Number(parts[2]) };
}

function wholeNumber(flag: string, text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) throw new DlqUsageError(`${flag} ${text}: not a whole number`);
  return Number(text);
}

function shownLetters({ letters, next, topic }: Json): string {
  const lines = (letters as Json[]).map((letter) => {
    const { partition, offset, reason, at, origin, deliveryCount, redriveTimes, error, key } = letter;
    const firstLine = typeof error === 'string' ? error.split('\n', 1)[0]! : '';
    const sentOn = redriveTimes === 0 ? '' : ` sent on ${redriveTimes}x`;
    return `${partition}/${offset} ${at ?? '-'} ${reason} ${origin ?? '-'} after ${deliveryCount ?? '?'}${sentOn} key ${clean(key)} ${clean(firstLine)}\n`;
  });
  if (lines.length === 0) return `Nothing in ${topic} passes.\n`;
  return lines.join('') + (next === null ? '' : `There are more: --next ${next}\n`);
}

/** Nothing that a terminal would act on. */
function clean(value: unknown): string {
  const text = value === null || value === undefined ? '-' : String(value);
  return text.replace(/[^\x20-\x7e\u00a0-\uffff]/g, '?').slice(0, 200);
}

function shownDryRun({ sent, skipped, targets, isPartial }: Json): string {
  const to = counts(targets as Json);
  const notAll =
    isPartial === true ? 'Of the first letters (there are more than one dry run looks at): ' : '';
  return `${notAll}${sent} would be sent on${to === '' ? '' : ` (${to})`}${skippedText(skipped as Json)}; nothing was done.\n`;
}

function shownJob({ id, group, from, to, state, sent, skipped, left }: Json): string {
  return `${id} ${state}: ${group}, ${from} to ${to}, ${sent} sent on, ${left} left${skippedText(skipped as Json)}\n`;
}

function skippedText(skipped: Json): string {
  const text = counts(skipped);
  return text === '' ? '' : `, left alone: ${text}`;
}

function counts(all: Json): string {
  return Object.entries(all)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}

function ask(admin: string, method: string, path: string, body: Json | undefined): Promise<Json> {
  const { host, port } = parseHostPort(admin, '--admin');
  const text = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const asking = request(
      {
        host,
        port,
        method,
        path: `/api/v1/${path}`,
        headers:
          text === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
      },
      (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => void parts.push(part));
        response.on('error', reject);
        response.on('end', () => {
          try {
            const answer = JSON.parse(Buffer.concat(parts).toString('utf8')) as Json;
            if ((response.statusCode ?? 500) < 300) resolve(answer);
            else reject(new Error(String(answer['error'] ?? `the broker answered ${response.statusCode}`)));
          } catch {
            reject(new Error(`${admin} does not answer as a broker's HTTP side does`));
          }
        });
      },
    );
    asking.on('error', (error) => reject(new Error(`${admin} cannot be asked: ${error.message}`)));
    asking.end(text);
  });
}
