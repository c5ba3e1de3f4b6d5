/** GetTelemetrySubscriptions, version 0: which metrics a client is to push, how often, and in which forms (KIP-714). */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type GetTelemetrySubscriptionsRequest,
  type GetTelemetrySubscriptionsResponseInput,
  getTelemetrySubscriptionsRequest,
  getTelemetrySubscriptionsResponse,
} from '../../protocol/generated/71-get-telemetry-subscriptions.ts';
import { codecIds, isCodecAvailable } from '../../protocol/records/compression.ts';
import { ZERO_UUID } from '../../protocol/wire/uuid.ts';
import type { ClientFacts } from '../services/client-metrics/client-instances.ts';
import { defineHandler, type RequestContext } from './handler.ts';
import type { Services } from './services.ts';

/** In the order in which clients should try them. */
const codecs = ['zstd', 'lz4', 'gzip', 'snappy'] as const;

export function getTelemetrySubscriptionsHandler({ clientMetrics }: Pick<Services, 'clientMetrics'>) {
  return defineHandler<GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponseInput>({
    apiKey: 71,
    minVersion: 0,
    maxVersion: 0,
    request: getTelemetrySubscriptionsRequest,
    response: getTelemetrySubscriptionsResponse,
    handle({ clientInstanceId }, context) {
      const instance = clientMetrics.ask(clientInstanceId, factsOf(context));
      if (typeof instance === 'number') return failure(instance);
      return {
        throttleTimeMs: 0,
        errorCode: errorCodes.NONE,
        clientInstanceId: instance.id,
        subscriptionId: instance.subscriptionId,
        acceptedCompressionTypes: codecs.filter(isCodecAvailable).map((codec) => codecIds[codec]),
        pushIntervalMs: instance.intervalMs,
        telemetryMaxBytes: clientMetrics.maxBytes,
        deltaTemporality: true,
        requestedMetrics: instance.metrics,
      };
    },
    fail: (_request, errorCode) => failure(errorCode),
  });
}

/** Who asks, as subscriptions may tell clients apart. */
export function factsOf({ clientId, connection }: RequestContext): ClientFacts {
  return {
    client_id: clientId ?? '',
    client_software_name: connection.clientSoftwareName ?? 'unknown',
    client_software_version: connection.clientSoftwareVersion ?? 'unknown',
    client_source_address: connection.remoteAddress,
    client_source_port: String(connection.remotePort),
  };
}

function failure(errorCode: number): GetTelemetrySubscriptionsResponseInput {
  return {
    throttleTimeMs: 0,
    errorCode,
    clientInstanceId: ZERO_UUID,
    subscriptionId: 0,
    acceptedCompressionTypes: [],
    pushIntervalMs: 0,
    telemetryMaxBytes: 0,
    deltaTemporality: false,
    requestedMetrics: [],
  };
}
