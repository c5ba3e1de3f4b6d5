/**
 * AlterConfigs, versions 0 to 2: sets all settings of topics, brokers and groups at once; what is not named goes back to its default. Kafka
 * advises IncrementalAlterConfigs instead.
 *
 * 1: throttling rules only. 2: flexible.
 */

import type {
  AlterConfigsRequest,
  AlterConfigsResponseInput,
} from '../../protocol/generated/33-alter-configs.ts';
import { alterConfigsRequest, alterConfigsResponse } from '../../protocol/generated/33-alter-configs.ts';
import { configOperations } from '../services/configuration/config-operations.ts';
import { type ConfigServices, changeResources, failedResources } from './config-changes.ts';
import { type AnyHandler, defineHandler } from './handler.ts';

export function alterConfigsHandler(services: ConfigServices): AnyHandler {
  return defineHandler<AlterConfigsRequest, AlterConfigsResponseInput>({
    apiKey: 33,
    minVersion: 0,
    maxVersion: 2,
    request: alterConfigsRequest,
    response: alterConfigsResponse,
    async handle({ resources, validateOnly }) {
      const changes = resources.map(({ resourceType, resourceName, configs }) => ({
        resourceType,
        resourceName,
        operations: configs.map(({ name, value }) => ({ name, value, operation: configOperations.SET })),
      }));
      return {
        throttleTimeMs: 0,
        responses: await changeResources(services, changes, 'replace', validateOnly),
      };
    },
    fail: ({ resources }, errorCode) => ({
      throttleTimeMs: 0,
      responses: failedResources(resources, errorCode),
    }),
  });
}
