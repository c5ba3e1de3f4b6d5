import { expect, test } from 'vitest';
import { MetricRegistry } from '../../src/telemetry/metrics.ts';
import { spaceMetrics } from '../../src/telemetry/space-metrics.ts';

test('the write amplification counts what was copied beside what was appended', () => {
  const figures = {
    liveBytes: 10,
    reclaimableBytes: 20,
    appendedBytes: 400,
    copiedBytes: 100,
    reclaimedBytes: 50,
    rewrites: 3,
    spacePasses: 4,
    failures: 5,
    damagedEntries: 6,
  };
  const registry = new MetricRegistry();
  registry.add(spaceMetrics(() => figures));
  const text = registry.render();
  expect(text).toContain('odradek_storage_write_amplification_ratio 1.25');
  expect(text).toContain('odradek_storage_reclaimable_bytes 20');
  expect(text).toContain('odradek_storage_copied_bytes_total 100');
  figures.appendedBytes = 0;
  expect(registry.render()).toContain('odradek_storage_write_amplification_ratio 1\n');
});
