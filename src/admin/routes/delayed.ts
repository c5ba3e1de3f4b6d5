/**
 * Delayed records:
 *   GET    /api/v1/delayed, /api/v1/topics/TOPIC/delayed   what waits, by due time; ?limit, ?fromMs, ?untilMs, ?next
 *   DELETE /api/v1/topics/TOPIC/delayed/ID                  cancels
 *   POST   /api/v1/topics/TOPIC/delayed/ID/deliver          delivers now
 *   POST   /api/v1/topics/TOPIC/delayed/ID/reschedule       {"delayMs": 60000} or {"dueMs": 1780000000000}
 */
import type { Context, Hono } from 'hono';
import type { DelayAdmin, DelayedAction, DelayedAnswer } from '../delay-admin.ts';

const defaultLimit = 100;
const largestLimit = 1000;

const statusOf = {
  'not-found': 404,
  'unknown-topic': 404,
  'already-delivered': 409,
  'already-cancelled': 409,
  invalid: 400,
} as const;

export function delayedRoutes(app: Hono, delayed: DelayAdmin): void {
  const list = async (context: Context, topic: string | undefined) => {
    const number = (name: string) => wholeNumber(context.req.query(name));
    const limit = number('limit') ?? defaultLimit;
    const fromMs = number('fromMs');
    const untilMs = number('untilMs');
    const next = context.req.query('next');
    if (
      Number.isNaN(limit) ||
      Number.isNaN(fromMs) ||
      Number.isNaN(untilMs) ||
      limit < 1 ||
      limit > largestLimit
    ) {
      return context.json(
        { error: `limit is 1 to ${largestLimit}, fromMs and untilMs are milliseconds` },
        400,
      );
    }
    const page = await delayed.list(topic, {
      limit,
      ...(fromMs === undefined ? {} : { fromMs }),
      ...(untilMs === undefined ? {} : { untilMs }),
      ...(next === undefined ? {} : { next }),
    });
    if (page === undefined) return context.json({ error: 'next is not what a page gave' }, 400);
    if (page === 'unknown-topic') return context.json({ error: `there is no topic ${topic}` }, 404);
    return context.json(page);
  };
  app.get('/api/v1/delayed', (context) => list(context, undefined));
  app.get('/api/v1/topics/:topic/delayed', (context) => list(context, context.req.param('topic')));

  const act = async (context: Context, action: DelayedAction) => {
    const { topic, id } = context.req.param() as { topic: string; id: string };
    return answer(context, await delayed.act(topic, id, action));
  };
  app.delete('/api/v1/topics/:topic/delayed/:id', (context) => act(context, { action: 'cancel' }));
  app.post('/api/v1/topics/:topic/delayed/:id/deliver', (context) => act(context, { action: 'deliver' }));
  app.post('/api/v1/topics/:topic/delayed/:id/reschedule', async (context) => {
    const body = (await context.req.json().catch(() => null)) as {
      dueMs?: unknown;
      delayMs?: unknown;
    } | null;
    const { dueMs, delayMs } = body ?? {};
    if (isTime(dueMs) && delayMs === undefined) return act(context, { action: 'reschedule', dueMs });
    if (isTime(delayMs) && dueMs === undefined) return act(context, { action: 'reschedule', delayMs });
    return context.json(
      { error: 'the body is {"delayMs": milliseconds} or {"dueMs": milliseconds since 1970}' },
      400,
    );
  });
}

function answer(context: Context, done: DelayedAnswer) {
  if (done.outcome === 'done') return context.json({ status: 'done' });
  if (done.outcome === 'failed') return context.json({ error: 'the broker could not; try again' }, 503);
  return context.json({ error: done.message, reason: done.reason }, statusOf[done.reason]);
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** NaN for what is none. */
function wholeNumber(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(value) ? value : Number.NaN;
}
