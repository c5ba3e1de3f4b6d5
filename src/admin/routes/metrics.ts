/** /metrics: one scrape. */
import type { Hono } from 'hono';
import type { AdminSource } from '../admin-source.ts';

export function metricsRoutes(app: Hono, source: AdminSource): void {
  app.get('/metrics', (context) =>
    context.body(source.metrics(), 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }),
  );
}
