import { describe, expect, it } from 'vitest';
import { adminApp } from '../../src/admin/admin-server.ts';
import type { AdminSource, BrokerState } from '../../src/admin/admin-source.ts';

function app(state: BrokerState) {
  const source: AdminSource = {
    state,
    status: () => ({ version: '1', state }) as ReturnType<AdminSource['status']>,
    metrics: () => 'a_total 1\n',
    backup: () => Promise.reject(new Error('not here')),
  };
  return adminApp(source);
}

const get = (state: BrokerState, path: string, host = 'localhost:9644') =>
  app(state).request(path, { headers: { host } });

describe('the HTTP side', () => {
  it('is alive in every state and ready in one', async () => {
    for (const state of ['starting', 'ready', 'draining', 'failed'] as const) {
      expect((await get(state, '/livez')).status).toBe(200);
      const ready = await get(state, '/readyz');
      expect(ready.status).toBe(state === 'ready' ? 200 : 503);
      expect(await ready.json()).toEqual({ status: state });
    }
  });

  it('shows the metrics in text format and the status as JSON', async () => {
    const metrics = await get('ready', '/metrics');
    expect(metrics.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(await metrics.text()).toBe('a_total 1\n');
    expect(await (await get('ready', '/api/v1/status')).json()).toEqual({ version: '1', state: 'ready' });
  });

  it('answers unknown paths with JSON too', async () => {
    const answer = await get('ready', '/nothing');
    expect(answer.status).toBe(404);
    expect(await answer.json()).toEqual({ error: 'there is nothing here' });
  });

  it('refuses names that are not of this machine, whatever they resolve to', async () => {
    expect((await get('ready', '/livez', 'evil.example')).status).toBe(403);
    for (const host of ['127.0.0.1:1', '[::1]:1', 'LOCALHOST']) {
      expect((await get('ready', '/livez', host)).status).toBe(200);
    }
  });
});
