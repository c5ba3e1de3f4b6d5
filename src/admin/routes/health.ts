/** /livez: the process answers. /readyz: clients can be served; 503 while starting and draining. */
import type { Hono } from 'hono';
import type { AdminSource } from '../admin-source.ts';

export function healthRoutes(app: Hono, source: AdminSource): void {
  // That the event loop got round to this is the proof.
  app.get('/livez', (context) => context.json({ status: 'alive' }));
  app.get('/readyz', (context) =>
    context.json({ status: source.state }, source.state === 'ready' ? 200 : 503),
  );
}
