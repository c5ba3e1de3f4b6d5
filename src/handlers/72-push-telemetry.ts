/** PushTelemetry, version 0: takes the metrics of a client (KIP-714). */
import {
  type PushTelemetryRequest,
  type PushTelemetryResponseInput,
  pushTelemetryRequest,
  pushTelemetryResponse,
} from '../../protocol/generated/72-push-telemetry.ts';
import { factsOf } from './71-get-telemetry-subscriptions.ts';
import { defineHandler } from './handler.ts';
import type { Services } from './services.ts';

export function pushTelemetryHandler({ clientMetrics }: Pick<Services, 'clientMetrics'>) {
  return defineHandler<PushTelemetryRequest, PushTelemetryResponseInput>({
    apiKey: 72,
    minVersion: 0,
    maxVersion: 0,
    request: pushTelemetryRequest,
    response: pushTelemetryResponse,
    handle: (request, context) => ({
      throttleTimeMs: 0,
      errorCode: clientMetrics.push(request, factsOf(context)),
    }),
    fail: (_request, errorCode) => ({ throttleTimeMs: 0, errorCode }),
  });
}
