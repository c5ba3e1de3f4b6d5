/**
 * Settings of groups, for clients that cannot ask for them over Kafka's protocol (resource type GROUP):
 *   GET   /api/v1/groups/GROUP/settings   those in force, and which the group sets itself
 *   PATCH /api/v1/groups/GROUP/settings   {"rmq.txn.timeout.ms": 2000, "rmq.txn.check.max": null}: sets, takes back; the others stay
 *   PUT   /api/v1/groups/GROUP/settings   the same, and what is not named is taken back
 */
import type { Context, Hono } from 'hono';
import type { GroupSettingsAdmin } from '../half-admin.ts';

export function groupSettingsRoutes(app: Hono, settings: GroupSettingsAdmin): void {
  const show = (group: string) => ({
    group,
    settings: Object.fromEntries(settings.list(group).map(({ name, ...rest }) => [name, rest])),
  });
  app.get('/api/v1/groups/:group/settings', (context) => context.json(show(context.req.param('group'))));

  const change = async (context: Context, replaces: boolean) => {
    const { group } = context.req.param() as { group: string };
    const values = valuesOf(await context.req.json().catch(() => null));
    if (values === undefined) {
      return context.json(
        { error: 'the body is an object of settings: texts, numbers, true, false, null' },
        400,
      );
    }
    const trouble = await settings.change(group, values, replaces);
    return trouble === undefined ? context.json(show(group)) : context.json({ error: trouble }, 400);
  };
  app.patch('/api/v1/groups/:group/settings', (context) => change(context, false));
  app.put('/api/v1/groups/:group/settings', (context) => change(context, true));
}

function valuesOf(body: unknown): Map<string, string | null> | undefined {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return undefined;
  const values = new Map<string, string | null>();
  for (const [name, value] of Object.entries(body)) {
    if (value === null) values.set(name, null);
    else if (['string', 'number', 'boolean'].includes(typeof value)) values.set(name, String(value));
    else return undefined;
  }
  return values;
}
