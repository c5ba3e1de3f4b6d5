/**
 * Dead letters:
 *   GET  /api/v1/groups/GROUP/dead-letters           in the order of their offsets; ?reason, ?topic, ?error, ?from, ?until, ?limit, ?next
 *   POST /api/v1/groups/GROUP/dead-letters/redrive   {"to": "origin" | "retry" | "topic:NAME", "reason", "topic", "error", "from", "until",
 *                                                    "partition" and "offset" of one, "rate", "maxRedrives", "dryRun"}: a job that sends them on
 *   GET  /api/v1/dead-letter-jobs[/ID]               how far it came
 *   POST /api/v1/dead-letter-jobs/ID/stop|resume
 */
import type { Hono } from 'hono';
import type { DeadLetterAdmin, DeadLetterFilter, RedriveAsked } from '../dead-letter-admin.ts';

const defaultLimit = 100;
const largestLimit = 1_000;

export function deadLetterRoutes(app: Hono, letters: DeadLetterAdmin): void {
  app.get('/api/v1/groups/:group/dead-letters', async (context) => {
    const query = context.req.query();
    const limit = query['limit'] === undefined ? defaultLimit : Number(query['limit']);
    if (!Number.isSafeInteger(limit) || limit < 1 || limit > largestLimit) {
      return context.json({ error: `limit is 1 to ${largestLimit}` }, 400);
    }
    const filter = filterOf(query);
    if (typeof filter === 'string') return context.json({ error: filter }, 400);
    const page = await letters.list(context.req.param('group'), filter, limit, query['next']);
    return typeof page === 'string' ? context.json({ error: page }, 404) : context.json(page);
  });

  app.post('/api/v1/groups/:group/dead-letters/redrive', async (context) => {
    const asked = askedOf(context.req.param('group'), await context.req.json().catch(() => null));
    if (typeof asked === 'string') return context.json({ error: asked }, 400);
    const answer = asked.dryRun ? await letters.preview(asked) : await letters.begin(asked);
    if (typeof answer === 'string') return context.json({ error: answer }, 409);
    return context.json(asked.dryRun ? { dryRun: true, ...answer } : answer, asked.dryRun ? 200 : 202);
  });

  const none = { error: 'there is no such redrive that is not done' };
  app.get('/api/v1/dead-letter-jobs', async (context) => context.json({ jobs: await letters.jobs() }));
  app.get('/api/v1/dead-letter-jobs/:id', async (context) => {
    const job = await letters.job(context.req.param('id'));
    return job === undefined ? context.json({ error: 'there is no such redrive' }, 404) : context.json(job);
  });
  for (const [word, state] of [
    ['stop', 'stopped'],
    ['resume', 'running'],
  ] as const) {
    app.post(`/api/v1/dead-letter-jobs/:id/${word}`, async (context) => {
      const job = await letters.setState(context.req.param('id'), state);
      return job === undefined ? context.json(none, 409) : context.json(job);
    });
  }
}

const texts = ['reason', 'topic', 'error'] as const;

function filterOf(given: Readonly<Record<string, unknown>>): DeadLetterFilter | string {
  const filter: { -readonly [Key in keyof DeadLetterFilter]: DeadLetterFilter[Key] } = {};
  for (const name of texts) {
    const value = given[name];
    if (value === undefined) continue;
    if (typeof value !== 'string') return `${name} is a text`;
    filter[name] = value;
  }
  for (const [name, key] of [
    ['from', 'fromMs'],
    ['until', 'untilMs'],
  ] as const) {
    const value = given[name];
    if (value === undefined) continue;
    const ms = typeof value === 'string' ? Date.parse(value) : Number.NaN;
    if (Number.isNaN(ms)) return `${name} is a time such as 2026-01-31T12:00:00Z`;
    filter[key] = ms;
  }
  return filter;
}

const known = new Set([
  ...texts,
  'from',
  'until',
  'to',
  'partition',
  'offset',
  'rate',
  'maxRedrives',
  'dryRun',
]);

function askedOf(group: string, body: unknown): (RedriveAsked & { readonly dryRun: boolean }) | string {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return 'the body is an object';
  const given = body as Readonly<Record<string, unknown>>;
  const stranger = Object.keys(given).find((name) => !known.has(name));
  if (stranger !== undefined) return `there is no field ${stranger}`;
  const filter = filterOf(given);
  if (typeof filter === 'string') return filter;
  const { to, partition, offset, rate, maxRedrives, dryRun = false } = given;
  if (typeof to !== 'string') return 'to is origin, retry or topic:NAME';
  if (typeof dryRun !== 'boolean') return 'dryRun is true or false';
  const asked = { group, to, filter, dryRun };
  for (const [name, value] of Object.entries({ partition, offset, rate, maxRedrives })) {
    if (value !== undefined && !(typeof value === 'number' && Number.isSafeInteger(value) && value >= 0)) {
      return `${name} is a whole number`;
    }
  }
  if ((partition === undefined) !== (offset === undefined)) return 'one letter has a partition and an offset';
  return {
    ...asked,
    ...(partition === undefined
      ? {}
      : { only: { partition: partition as number, offset: offset as number } }),
    ...(rate === undefined ? {} : { rate: rate as number }),
    ...(maxRedrives === undefined ? {} : { maxRedrives: maxRedrives as number }),
  };
}
