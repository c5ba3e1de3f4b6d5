/**
 * POST /api/v1/backup {"destination": "/absolute/path", "copy": false}: makes a backup of the running broker and answers when it is
 * whole. 409: it cannot be done so, with the reason. It writes files, so a web page must not be able to ask for it: only JSON
 * is taken, which a page may not send elsewhere without being let, and nothing that says that it comes from a page.
 */
import { isAbsolute, normalize } from 'node:path';
import type { Hono } from 'hono';
import { BackupRefusedError } from '../../storage/backup.ts';
import type { AdminSource } from '../admin-source.ts';

const largestBodyBytes = 16 * 1024;

export function backupRoutes(app: Hono, source: AdminSource): void {
  app.post('/api/v1/backup', async (context) => {
    const { req } = context;
    if (req.header('origin') !== undefined || (req.header('sec-fetch-site') ?? 'none') !== 'none') {
      return context.json({ error: 'not for web pages' }, 403);
    }
    if (!/^application\/json(;|$)/i.test(req.header('content-type') ?? '')) {
      return context.json({ error: 'the request must be application/json' }, 415);
    }
    if (!(Number(req.header('content-length')) <= largestBodyBytes)) {
      return context.json({ error: 'the request must say its length, and be small' }, 413);
    }
    const asked: unknown = await req.json().catch(() => undefined);
    const { destination, copy } = (asked ?? {}) as { destination?: unknown; copy?: unknown };
    if (typeof destination !== 'string' || !isAbsolute(destination) || destination.includes('\0')) {
      return context.json({ error: 'destination must be an absolute path' }, 400);
    }
    if (copy !== undefined && typeof copy !== 'boolean') {
      return context.json({ error: 'copy must be true or false' }, 400);
    }
    if (source.state !== 'ready') return context.json({ error: `the broker is ${source.state}` }, 503);
    try {
      const report = await source.backup({
        destination: normalize(destination),
        mayLink: copy !== true,
        signal: req.raw.signal,
      });
      return context.json(report);
    } catch (error) {
      const status = error instanceof BackupRefusedError ? 409 : 500;
      return context.json({ error: (error as Error).message }, status);
    }
  });
}
