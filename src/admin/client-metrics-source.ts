/** What clients pushed as the HTTP side asks about it. */
import type { ClientMetrics } from '../services/client-metrics/client-metrics.ts';
import type { ClientMetricsAdmin } from './routes/client-metrics.ts';

export function clientMetricsSource({ instances, pushed }: ClientMetrics): ClientMetricsAdmin {
  return {
    list(limit) {
      instances.sweep();
      const rows = [];
      for (const [id, series] of pushed.clients) {
        if (rows.length >= limit) break;
        const facts = instances.get(id)?.facts;
        rows.push({
          clientInstanceId: id,
          clientId: facts?.client_id ?? '',
          software: `${facts?.client_software_name ?? ''} ${facts?.client_software_version ?? ''}`.trim(),
          address: facts === undefined ? '' : `${facts.client_source_address}:${facts.client_source_port}`,
          metrics: series.size,
        });
      }
      return rows;
    },
    show(id) {
      instances.sweep();
      const series = pushed.clients.get(id);
      return series === undefined
        ? undefined
        : [...series.values()].map(({ name, type, attributes, value }) => ({
            name,
            type,
            attributes: Object.fromEntries(attributes),
            value,
          }));
    },
  };
}
