/** Metrics of the process itself, under the names that Prometheus clients use. */
import { performance } from 'node:perf_hooks';
import type { Collector } from './metrics.ts';

/** Reads memory, processor time and event-loop use when scraped. */
export function processMetrics(startedAtMs: number): Collector {
  let last = performance.eventLoopUtilization();
  return (writer) => {
    const memory = process.memoryUsage();
    const cpu = process.cpuUsage();
    const now = performance.eventLoopUtilization();
    const idle = 1 - performance.eventLoopUtilization(now, last).utilization;
    last = now;
    writer.single('process_resident_memory_bytes', 'gauge', 'Resident memory', memory.rss);
    writer.single('nodejs_heap_size_used_bytes', 'gauge', 'Heap in use', memory.heapUsed);
    writer.single(
      'nodejs_external_memory_bytes',
      'gauge',
      'Memory outside the heap, buffers included',
      memory.external,
    );
    writer.single(
      'process_cpu_seconds_total',
      'counter',
      'Processor time, user and system',
      (cpu.user + cpu.system) / 1e6,
    );
    writer.single('process_start_time_seconds', 'gauge', 'When the process started', startedAtMs / 1000);
    writer.single(
      'kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent',
      'gauge',
      'Share of time since the last scrape in which the event loop had nothing to do',
      idle,
    );
  };
}
