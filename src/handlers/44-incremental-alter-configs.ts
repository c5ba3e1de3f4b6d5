/**
 * IncrementalAlterConfigs, versions 0 and 1: sets, deletes, appends to and subtracts from single settings of topics, brokers and groups
 * (KIP-339). Done, durably, when it is answered.
 *
 * 1: flexible.
 */

import type {
  IncrementalAlterConfigsRequest,
  IncrementalAlterConfigsResponseInput,
} from '../../protocol/generated/44-incremental-alter-configs.ts';
import {
  incrementalAlterConfigsRequest,
  incrementalAlterConfigsResponse,
} from '../../protocol/generated/44-incremental-alter-configs.ts';
import { type ConfigServices, changeResources, failedResources } from './config-changes.ts';
import { type AnyHandler, defineHandler } from './handler.ts';

export function incrementalAlterConfigsHandler(services: ConfigServices): AnyHandler {
  return defineHandler<IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponseInput>({
    apiKey: 44,
    minVersion: 0,
    maxVersion: 1,
    request: incrementalAlterConfigsRequest,
    response: incrementalAlterConfigsResponse,
    async handle({ resources, validateOnly }) {
      const changes = resources.map(({ resourceType, resourceName, configs }) => ({
        resourceType,
        resourceName,
        operations: configs.map(({ name, value, configOperation }) => ({
          name,
          value,
          operation: configOperation,
        })),
      }));
      return {
        throttleTimeMs: 0,
        responses: await changeResources(services, changes, 'change', validateOnly),
      };
    },
    fail: ({ resources }, errorCode) => ({
      throttleTimeMs: 0,
      responses: failedResources(resources, errorCode),
    }),
  });
}
