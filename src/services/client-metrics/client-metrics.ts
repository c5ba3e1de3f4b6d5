/**
 * Client metrics (KIP-714) as a whole: subscriptions, the clients that answer them, and what they pushed. Opens reports; what is wrong in
 * one is the client's fault and told to it.
 */
import { type ErrorCode, errorCodes } from '../../../protocol/error-codes.ts';
import { codecNameOf, decompress } from '../../../protocol/records/compression.ts';
import { RecordError } from '../../../protocol/records/record-error.ts';
import { uuidFromBytes } from '../../../protocol/wire/uuid.ts';
import type { Catalogue } from '../../storage/engine.ts';
import type { Clock } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import { type ClientFacts, type ClientInstance, ClientInstances } from './client-instances.ts';
import { decodeReport } from './otlp-metrics.ts';
import { ProtobufError } from './protobuf-reader.ts';
import { maxSeriesPerClient, PushedMetrics } from './pushed-metrics.ts';
import { Subscriptions } from './subscriptions.ts';

/** A report may be so many times as large when it is unpacked. */
const maxExpansion = 16;

export interface ClientMetricsOptions {
  readonly catalogue: Catalogue;
  readonly clock: Clock;
  readonly log: Log;
  readonly randomBytes: (sizeBytes: number) => Buffer;
  /** telemetry.max.bytes, read at every use. */
  readonly maxBytes: () => number;
}

export interface Push {
  readonly clientInstanceId: string;
  readonly subscriptionId: number;
  readonly terminating: boolean;
  readonly compressionType: number;
  readonly metrics: Buffer;
}

export class ClientMetrics {
  readonly subscriptions: Subscriptions;
  readonly instances: ClientInstances;
  readonly pushed = new PushedMetrics();
  /** Reports taken, and those that could not be read. */
  readonly figures = { taken: 0, unreadable: 0 };
  readonly #log: Log;
  readonly #maxBytes: () => number;

  constructor({ catalogue, clock, log, randomBytes, maxBytes }: ClientMetricsOptions) {
    this.#log = log;
    this.#maxBytes = maxBytes;
    this.subscriptions = new Subscriptions(catalogue);
    this.instances = new ClientInstances(
      clock,
      this.subscriptions,
      () => randomUuid(randomBytes),
      (id) => this.pushed.forget(id),
    );
  }

  close(): void {
    this.subscriptions.close();
  }

  get maxBytes(): number {
    return this.#maxBytes();
  }

  /** GetTelemetrySubscriptions. */
  ask(id: string, facts: ClientFacts): ClientInstance | ErrorCode {
    return this.instances.ask(id, facts);
  }

  /** PushTelemetry; what is wrong with it, or NONE. */
  push(push: Push, facts: ClientFacts): ErrorCode {
    const { clientInstanceId, subscriptionId, terminating, compressionType, metrics } = push;
    const maxBytes = this.#maxBytes();
    const instance = this.instances.push(clientInstanceId, facts, {
      subscriptionId,
      terminating,
      compressionType,
      sizeBytes: metrics.length,
      maxBytes,
    });
    if (typeof instance === 'number') return instance;
    if (metrics.length === 0) return errorCodes.NONE;
    try {
      const plain = decompress(codecNameOf(compressionType), metrics, {
        limitBytes: Math.max(maxBytes, maxBytes * maxExpansion),
      });
      const { points, leftOut } = decodeReport(plain, maxSeriesPerClient);
      this.pushed.leftOut += leftOut;
      this.pushed.add(clientInstanceId, points);
      this.figures.taken += 1;
      return errorCodes.NONE;
    } catch (error) {
      if (!(error instanceof ProtobufError) && !(error instanceof RecordError)) throw error;
      this.figures.unreadable += 1;
      this.#log.warn(
        { client: facts.client_id, clientInstanceId, error: error.message },
        'cannot read the metrics that a client pushed',
      );
      instance.lastError = errorCodes.INVALID_RECORD;
      return errorCodes.INVALID_RECORD;
    }
  }
}

function randomUuid(randomBytes: (sizeBytes: number) => Buffer): string {
  const bytes = randomBytes(16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return uuidFromBytes(bytes);
}
