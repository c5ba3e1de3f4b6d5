/** Metrics of the broker as a whole, under the names that dashboards for Kafka read where there are such. */
import type { Collector } from './metrics.ts';

/** What is read at a scrape. */
export interface BrokerFigures {
  readonly nodeId: number;
  /** host:port of the first listener, as clients are told. */
  readonly address: string;
  readonly version: string;
  readonly isReady: boolean;
  readonly topics: number;
  readonly partitions: number;
  readonly totalBytes: number;
  readonly unflushedBytes: number;
  readonly unwrittenBytes: number;
}

export function brokerMetrics(read: () => BrokerFigures): Collector {
  return (writer) => {
    const figures = read();
    writer.single('kafka_brokers', 'gauge', 'Brokers of the cluster', 1);
    writer.family('kafka_broker_info', 'gauge', 'Address of each broker');
    writer.sample(1, { id: figures.nodeId, address: figures.address });
    writer.family('odradek_build_info', 'gauge', 'Version of the broker');
    writer.sample(1, { version: figures.version });
    writer.single('odradek_ready', 'gauge', 'Whether clients can be served', figures.isReady ? 1 : 0);
    writer.single('odradek_topics', 'gauge', 'Topics, internal ones too', figures.topics);
    writer.single(
      'kafka_server_replicamanager_partitioncount',
      'gauge',
      'Partitions of all topics',
      figures.partitions,
    );
    writer.single(
      'kafka_server_replicamanager_leadercount',
      'gauge',
      'Partitions led by this broker',
      figures.partitions,
    );
    writer.single(
      'kafka_controller_kafkacontroller_activecontrollercount',
      'gauge',
      'Controllers in this process',
      1,
    );
    writer.single(
      'rocketmq_storage_size',
      'gauge',
      'Bytes of everything the engine keeps',
      figures.totalBytes,
    );
    writer.single(
      'rocketmq_storage_flush_behind_bytes',
      'gauge',
      'Bytes appended and not yet durable',
      figures.unflushedBytes,
    );
    writer.single(
      'odradek_storage_write_behind_bytes',
      'gauge',
      'Bytes accepted and not yet written',
      figures.unwrittenBytes,
    );
  };
}
