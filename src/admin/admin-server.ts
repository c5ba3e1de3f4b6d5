/**
 * The HTTP side: health, metrics, status. Loaded only where it is asked for, and answers only on loopback, since it asks
 * nobody who they are; requests that a web page could have made another host's name stand for are refused too.
 */
import { type ServerType, serve } from '@hono/node-server';
import { Hono } from 'hono';
import type { AdminSource } from './admin-source.ts';
import { backupRoutes } from './routes/backup.ts';
import { clientMetricsRoutes } from './routes/client-metrics.ts';
import { clockRoutes } from './routes/clock.ts';
import { deadLetterRoutes } from './routes/dead-letters.ts';
import { delayedRoutes } from './routes/delayed.ts';
import { groupSettingsRoutes } from './routes/group-settings.ts';
import { halfMessageRoutes } from './routes/half-messages.ts';
import { healthRoutes } from './routes/health.ts';
import { metricsRoutes } from './routes/metrics.ts';
import { statusRoutes } from './routes/status.ts';

export interface AdminServer {
  readonly port: number;
  close(): Promise<void>;
}

/** The routes, for tests without a socket too. */
export function adminApp(source: AdminSource): Hono {
  const app = new Hono();
  app.use(async (context, next) => {
    // A name that DNS points at this machine is no loopback name: a page elsewhere may not read what is here.
    const host = context.req.header('host');
    if (host !== undefined && !isLoopbackHostHeader(host)) {
      return context.json({ error: 'only loopback hosts are served' }, 403);
    }
    // Nor may it change anything here: browsers say where a request that changes something comes from.
    const origin = context.req.header('origin');
    if (origin !== undefined && !isLoopbackOrigin(origin)) {
      return context.json({ error: 'requests of web pages from elsewhere are not served' }, 403);
    }
    await next();
    return undefined;
  });
  healthRoutes(app, source);
  metricsRoutes(app, source);
  statusRoutes(app, source);
  if (source.clientMetrics !== undefined) clientMetricsRoutes(app, source.clientMetrics);
  if (source.delayed !== undefined) delayedRoutes(app, source.delayed);
  if (source.halfMessages !== undefined) halfMessageRoutes(app, source.halfMessages);
  if (source.deadLetters !== undefined) deadLetterRoutes(app, source.deadLetters);
  if (source.groupSettings !== undefined) groupSettingsRoutes(app, source.groupSettings);
  clockRoutes(app, source.virtualClock, longestAdvanceMs);
  backupRoutes(app, source);
  app.notFound((context) => context.json({ error: 'there is nothing here' }, 404));
  return app;
}

/** Opens the HTTP side. Rejects with the system's error where the address cannot be listened on. */
export function openAdminServer(source: AdminSource, host: string, port: number): Promise<AdminServer> {
  return new Promise((resolve, reject) => {
    const server: ServerType = serve({ fetch: adminApp(source).fetch, hostname: host, port }, (address) => {
      server.removeListener('error', reject);
      resolve({
        port: address.port,
        close: () =>
          new Promise<void>((closed) => {
            server.close(() => closed());
            // Kept-alive connections of scrapers would hold the stop up.
            if ('closeAllConnections' in server) server.closeAllConnections();
          }),
      });
    });
    server.once('error', reject);
  });
}

/** 10 years. */
const longestAdvanceMs = 315_360_000_000;

function isLoopbackOrigin(origin: string): boolean {
  return URL.canParse(origin) && isLoopbackHostHeader(new URL(origin).host);
}

function isLoopbackHostHeader(header: string): boolean {
  const host = header.replace(/:\d+$/, '').toLowerCase();
  return host === 'localhost' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}
