import { describe, expect, it } from 'vitest';
import { MetricRegistry } from '../../src/telemetry/metrics.ts';

describe('MetricRegistry', () => {
  it('asks at each scrape and writes the text format', () => {
    const registry = new MetricRegistry();
    let count = 1;
    registry.add((writer) => {
      writer.single('a_total', 'counter', 'Things\nseen', count);
      writer.family('b', 'gauge', 'By name');
      writer.sample(1.5, { name: 'x"y\\z\n', other: 2 });
      writer.sample(Number.POSITIVE_INFINITY, {});
    });
    expect(registry.render().split('\n').slice(0, 6)).toEqual([
      '# HELP a_total Things\\nseen',
      '# TYPE a_total counter',
      'a_total 1',
      '# HELP b By name',
      '# TYPE b gauge',
      'b{name="x\\"y\\\\z\\n",other="2"} 1.5',
    ]);
    count = 2;
    expect(registry.render()).toContain('\na_total 2\n');
    expect(registry.render()).toContain('\nb +Inf\n');
  });

  it('cuts a scrape that is too large and says so', () => {
    const registry = new MetricRegistry();
    registry.add((writer) => {
      writer.family('many', 'gauge', 'Many');
      for (let i = 0; i < 200_005; i += 1) writer.sample(i, { i });
    });
    const text = registry.render();
    expect(text).toContain('odradek_metrics_samples_left_out 5\n');
    expect(text).not.toContain('i="200000"');
  });
});
