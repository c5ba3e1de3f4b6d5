/** GET /api/v1/status: what the broker is and how it does, as JSON. */
import type { Hono } from 'hono';
import type { AdminSource } from '../admin-source.ts';

export function statusRoutes(app: Hono, source: AdminSource): void {
  app.get('/api/v1/status', (context) => context.json(source.status()));
}
