/**
 * What clients pushed (KIP-714):
 *   GET /api/v1/client-metrics      the clients; ?limit
 *   GET /api/v1/client-metrics/ID   the newest value of every metric of one
 */
import type { Hono } from 'hono';

export interface ClientMetricsAdmin {
  list(limit: number): readonly {
    readonly clientInstanceId: string;
    readonly clientId: string;
    readonly software: string;
    readonly address: string;
    readonly metrics: number;
  }[];
  /** Undefined where no such client is known. */
  show(clientInstanceId: string):
    | readonly {
        readonly name: string;
        readonly type: string;
        readonly attributes: Readonly<Record<string, string>>;
        readonly value: unknown;
      }[]
    | undefined;
}

const defaultLimit = 100;
const largestLimit = 1000;

export function clientMetricsRoutes(app: Hono, clients: ClientMetricsAdmin): void {
  app.get('/api/v1/client-metrics', (context) => {
    const limit = Number(context.req.query('limit') ?? defaultLimit);
    if (!Number.isInteger(limit) || limit < 1 || limit > largestLimit) {
      return context.json({ error: `limit is 1 to ${largestLimit}` }, 400);
    }
    return context.json({ clients: clients.list(limit) });
  });
  app.get('/api/v1/client-metrics/:id', (context) => {
    const metrics = clients.show(context.req.param('id'));
    return metrics === undefined
      ? context.json({ error: 'no such client pushed anything lately' }, 404)
      : context.json({ clientInstanceId: context.req.param('id'), metrics });
  });
}
