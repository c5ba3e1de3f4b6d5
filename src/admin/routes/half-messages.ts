/**
 * Half messages:
 *   GET  /api/v1/half-messages, /api/v1/producer-groups/GROUP/half-messages   in the order of their ids; ?limit, ?next, ?state=pending
 *   POST /api/v1/producer-groups/GROUP/half-messages/ID/commit                 delivers, as its producer would
 *   POST /api/v1/producer-groups/GROUP/half-messages/ID/rollback               drops it
 *   POST /api/v1/producer-groups/GROUP/discarded/PARTITION/OFFSET/redrive      sends a discarded one where it was meant to go
 */
import type { Context, Hono } from 'hono';
import type { HalfAdmin } from '../half-admin.ts';

const defaultLimit = 100;
const largestLimit = 1000;

const statusOf = { 'not-found': 404, conflict: 409, invalid: 400 } as const;

export function halfMessageRoutes(app: Hono, halves: HalfAdmin): void {
  const list = async (context: Context, group: string | undefined) => {
    const limit = wholeNumber(context.req.query('limit')) ?? defaultLimit;
    const state = context.req.query('state');
    const next = context.req.query('next');
    if (Number.isNaN(limit) || limit < 1 || limit > largestLimit) {
      return context.json({ error: `limit is 1 to ${largestLimit}` }, 400);
    }
    if (state !== undefined && state !== 'pending')
      return context.json({ error: 'state is pending or left out' }, 400);
    const page = await halves.list(group, {
      limit,
      pendingOnly: state === 'pending',
      ...(next === undefined ? {} : { next }),
    });
    if (page === undefined) return context.json({ error: 'next is not what a page gave' }, 400);
    return context.json(page);
  };
  app.get('/api/v1/half-messages', (context) => list(context, undefined));
  app.get('/api/v1/producer-groups/:group/half-messages', (context) =>
    list(context, context.req.param('group')),
  );

  for (const verdict of ['commit', 'rollback'] as const) {
    app.post(`/api/v1/producer-groups/:group/half-messages/:id/${verdict}`, async (context) => {
      const { group, id } = context.req.param();
      const done = await halves.decide(group, id, verdict);
      if (done.outcome === 'done') return context.json({ status: 'done' });
      if (done.outcome === 'failed') return context.json({ error: 'the broker could not; try again' }, 503);
      return context.json({ error: done.message, reason: done.reason }, statusOf[done.reason]);
    });
  }

  app.post('/api/v1/producer-groups/:group/discarded/:partition/:offset/redrive', async (context) => {
    const params = context.req.param();
    const partition = wholeNumber(params.partition);
    const offset = wholeNumber(params.offset);
    if (partition === undefined || offset === undefined || Number.isNaN(partition) || Number.isNaN(offset)) {
      return context.json({ error: 'partition and offset are whole numbers' }, 400);
    }
    const done = await halves.redrive(params.group, partition, offset);
    if (done.outcome === 'refused') return context.json({ error: done.message }, 409);
    return context.json({ topic: done.topic, partition: done.partition, offset: done.offset });
  });
}

/** NaN for what is none. */
function wholeNumber(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(value) ? value : Number.NaN;
}
