/**
 * The clock of a development broker (--virtual-clock):
 *   GET  /api/v1/clock            what time it is
 *   POST /api/v1/clock/advance    {"ms": 86400000} moves it on; answers when what was due by then has fired
 */
import type { Hono } from 'hono';
import type { ClockAdmin } from '../delay-admin.ts';

export function clockRoutes(app: Hono, clock: ClockAdmin | undefined, longestAdvanceMs: number): void {
  const none = { error: 'the clock cannot be moved: start with --virtual-clock' };
  const shown = (source: ClockAdmin) => ({
    now: new Date(source.nowMs).toISOString(),
    nowMs: source.nowMs,
    shiftMs: source.shiftMs,
  });
  app.get('/api/v1/clock', (context) =>
    clock === undefined ? context.json(none, 404) : context.json(shown(clock)),
  );
  app.post('/api/v1/clock/advance', async (context) => {
    if (clock === undefined) return context.json(none, 404);
    const body = (await context.req.json().catch(() => null)) as { ms?: unknown } | null;
    const ms = body?.ms;
    if (typeof ms !== 'number' || !Number.isSafeInteger(ms) || ms < 1 || ms > longestAdvanceMs) {
      return context.json({ error: `the body is {"ms": 1 to ${longestAdvanceMs}}` }, 400);
    }
    await clock.advance(ms);
    return context.json(shown(clock));
  });
}
