/** Metrics of the connection layer. */
import type { Collector } from '../telemetry/metrics.ts';
import type { ConnectionServer } from './connection-server.ts';

/** `apiName`: Kafka's name of an API key. */
export function connectionMetrics(server: ConnectionServer, apiName: (apiKey: number) => string): Collector {
  return (writer) => {
    const counters = server.counters;
    writer.single(
      'kafka_server_socket_server_metrics_connection_count',
      'gauge',
      'Open client connections',
      server.openConnections,
    );
    writer.single(
      'odradek_connections_accepted_total',
      'counter',
      'Connections accepted, refused ones too',
      counters.connectionsAccepted,
    );
    writer.single(
      'odradek_connections_closed_total',
      'counter',
      'Connections ended',
      counters.connectionsClosed,
    );
    writer.family(
      'odradek_connections_refused_total',
      'counter',
      'Connections refused or closed by the broker, by reason',
    );
    for (const [reason, count] of server.refusals.counts) writer.sample(count, { reason });
    writer.single('odradek_request_bytes_total', 'counter', 'Bytes received', counters.bytesIn);
    writer.single('odradek_answer_bytes_total', 'counter', 'Bytes sent', counters.bytesOut);
    writer.family('odradek_requests_total', 'counter', 'Requests started, by API');
    for (let apiKey = 0; apiKey < counters.requestsByApi.length; apiKey += 1) {
      const count = counters.requestsByApi[apiKey]!;
      if (count > 0) writer.sample(count, { api: apiName(apiKey) });
    }
    writer.single(
      'odradek_request_faults_total',
      'counter',
      'Requests whose handler failed',
      counters.faults,
    );
    writer.single(
      'odradek_requests_in_flight',
      'gauge',
      'Requests started and not answered',
      server.requestsInFlight,
    );
    writer.single(
      'odradek_connection_pauses_total',
      'counter',
      'Times that reading from a connection paused for lack of room',
      counters.pauses,
    );
    writer.single(
      'odradek_frame_reserved_bytes',
      'gauge',
      'Bytes of large requests that are arriving, announced',
      server.memory.reservedBytes,
    );
    writer.single(
      'odradek_frames_waiting',
      'gauge',
      'Large requests that wait for queued.max.request.bytes',
      server.memory.waiting,
    );
  };
}
