/**
 * ListConfigResources, versions 0 and 1: which resources have settings (KIP-1142).
 *
 * 0: client metrics subscriptions only (KIP-1000, its former name ListClientMetricsResources).
 * 1: of the types asked for; none means all.
 */

import { errorCodes } from '../../protocol/error-codes.ts';
import type {
  ListConfigResourcesRequest,
  ListConfigResourcesResponseConfigResourceInput,
  ListConfigResourcesResponseInput,
} from '../../protocol/generated/74-list-config-resources.ts';
import {
  listConfigResourcesRequest,
  listConfigResourcesResponse,
} from '../../protocol/generated/74-list-config-resources.ts';
import type { ConfigServices } from './config-changes.ts';
import { configResourceTypes } from './config-resources.ts';
import { type AnyHandler, defineHandler } from './handler.ts';

type Resource = ListConfigResourcesResponseConfigResourceInput;

const known: readonly number[] = Object.values(configResourceTypes);

export function listConfigResourcesHandler({
  clientMetrics,
  config,
  groupConfigs,
  topics,
}: Pick<ConfigServices, 'clientMetrics' | 'config' | 'groupConfigs' | 'topics'>): AnyHandler {
  function resourcesOf(type: number): readonly Resource[] {
    switch (type) {
      case configResourceTypes.TOPIC:
        return topics.all().map(({ name }) => ({ resourceName: name, resourceType: type }));
      case configResourceTypes.BROKER:
      case configResourceTypes.BROKER_LOGGER:
        return [{ resourceName: String(config.int('node.id')), resourceType: type }];
      case configResourceTypes.CLIENT_METRICS:
        return clientMetrics.subscriptions.all.map(({ name }) => ({
          resourceName: name,
          resourceType: type,
        }));
      case configResourceTypes.GROUP:
        return groupConfigs.groups().map((name) => ({ resourceName: name, resourceType: type }));
      default:
        return [];
    }
  }

  return defineHandler<ListConfigResourcesRequest, ListConfigResourcesResponseInput>({
    apiKey: 74,
    minVersion: 0,
    maxVersion: 1,
    request: listConfigResourcesRequest,
    response: listConfigResourcesResponse,
    handle({ resourceTypes }, { apiVersion }) {
      const asked =
        apiVersion === 0
          ? [configResourceTypes.CLIENT_METRICS]
          : resourceTypes.length === 0
            ? known
            : [...new Set(resourceTypes)];
      if (asked.some((type) => !known.includes(type))) {
        return { throttleTimeMs: 0, errorCode: errorCodes.UNSUPPORTED_VERSION, configResources: [] };
      }
      return {
        throttleTimeMs: 0,
        errorCode: errorCodes.NONE,
        configResources: asked.flatMap((type) => resourcesOf(type)),
      };
    },
    fail: (_request, errorCode) => ({ throttleTimeMs: 0, errorCode, configResources: [] }),
  });
}
