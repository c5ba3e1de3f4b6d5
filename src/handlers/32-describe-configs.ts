/**
 * DescribeConfigs, versions 0 to 4: the settings of topics, brokers and groups, with their defaults.
 *
 * 0: only whether a value is the default. 1: where a value comes from, and the values behind it (synonyms).
 * 2: throttling rules only. 3: types and documentation. 4: flexible.
 */

import type {
  DescribeConfigsRequest,
  DescribeConfigsRequestDescribeConfigsResource,
  DescribeConfigsResponseDescribeConfigsResourceResultInput,
  DescribeConfigsResponseInput,
} from '../../protocol/generated/32-describe-configs.ts';
import {
  describeConfigsRequest,
  describeConfigsResponse,
} from '../../protocol/generated/32-describe-configs.ts';
import { type ApiError, apiError } from '../services/api-error.ts';
import { brokerConfigDefinitions, type ConfigSynonym } from '../services/configuration/broker-config.ts';
import {
  type ConfigDefinition,
  type ConfigSource,
  configSources,
  configTypeCodes,
} from '../services/configuration/config-definition.ts';
import { describeTopicConfig } from '../services/configuration/topic-config.ts';
import { topicNameFault } from '../services/topics/topic-name.ts';
import { describeLoggers } from './broker-loggers.ts';
import type { ConfigServices } from './config-changes.ts';
import { brokerIdOf, configResourceTypes } from './config-resources.ts';
import { type AnyHandler, defineHandler } from './handler.ts';

type ConfigResult = DescribeConfigsResponseDescribeConfigsResourceResultInput;

interface DescribedConfig {
  readonly definition: ConfigDefinition;
  readonly text: string | null;
  readonly source: ConfigSource;
  readonly synonyms: readonly ConfigSynonym[];
  readonly readOnly?: boolean;
}

type Description = readonly DescribedConfig[] | ApiError;

export function describeConfigsHandler(
  services: Pick<ConfigServices, 'clientMetrics' | 'config' | 'groupConfigs' | 'log' | 'topics'>,
): AnyHandler {
  const { clientMetrics, config, groupConfigs, log, topics } = services;
  const nodeId = config.int('node.id');

  function describe({
    resourceName,
    resourceType,
  }: DescribeConfigsRequestDescribeConfigsResource): Description {
    switch (resourceType) {
      case configResourceTypes.TOPIC: {
        const fault = topicNameFault(resourceName);
        if (fault !== undefined) return apiError('INVALID_TOPIC_EXCEPTION', fault);
        const topic = topics.get(resourceName);
        return topic === undefined
          ? apiError('UNKNOWN_TOPIC_OR_PARTITION')
          : describeTopicConfig(topic.overrides, config);
      }
      case configResourceTypes.BROKER:
        return describeBroker(resourceName);
      case configResourceTypes.BROKER_LOGGER:
        return loggerFault(resourceName) ?? describeLoggers(log);
      case configResourceTypes.CLIENT_METRICS:
        return resourceName === ''
          ? apiError('INVALID_REQUEST', 'Client metrics subscription name must not be empty')
          : clientMetrics.subscriptions.describe(resourceName);
      case configResourceTypes.GROUP:
        return resourceName === ''
          ? apiError('INVALID_REQUEST', 'Group name must not be empty')
          : groupConfigs.describe(resourceName);
      default:
        return apiError('INVALID_REQUEST', `Unknown resource type ${resourceType}`);
    }
  }

  function describeBroker(resourceName: string): Description {
    if (resourceName === '') return describeBrokerDefaults();
    const asked = brokerIdOf(resourceName);
    if (asked === undefined) {
      return apiError('INVALID_REQUEST', `Broker id must be an integer, but it is: ${resourceName}`);
    }
    if (asked !== nodeId) {
      const message = `Unexpected broker id, expected ${nodeId} or empty string, but received ${resourceName}`;
      return apiError('INVALID_REQUEST', message);
    }
    return brokerConfigDefinitions.map((definition) => {
      const synonyms = config.synonyms(definition.name);
      return {
        definition,
        text: config.text(definition.name),
        source: synonyms[0]?.source ?? configSources.DEFAULT_CONFIG,
        synonyms,
        readOnly: definition.update === 'read-only' || definition.standing === 'absent',
      };
    });
  }

  /** What was set for all brokers together, and nothing behind it. */
  function describeBrokerDefaults(): readonly DescribedConfig[] {
    const source = configSources.DYNAMIC_DEFAULT_BROKER_CONFIG;
    const set = config.dynamic('all-brokers');
    return brokerConfigDefinitions.flatMap((definition) => {
      const text = set.get(definition.name);
      if (text === undefined) return [];
      return [{ definition, text, source, synonyms: [{ name: definition.name, text, source }] }];
    });
  }

  function loggerFault(resourceName: string): ApiError | undefined {
    if (resourceName === '') return apiError('INVALID_REQUEST', 'Broker id must not be empty');
    const asked = brokerIdOf(resourceName);
    if (asked === undefined) {
      return apiError('INVALID_REQUEST', `Broker id must be an integer, but it is: ${resourceName}`);
    }
    return asked === nodeId
      ? undefined
      : apiError('INVALID_REQUEST', `Unexpected broker id, expected ${nodeId} but received ${resourceName}`);
  }

  return defineHandler<DescribeConfigsRequest, DescribeConfigsResponseInput>({
    apiKey: 32,
    minVersion: 0,
    maxVersion: 4,
    request: describeConfigsRequest,
    response: describeConfigsResponse,
    handle(request, { apiVersion }) {
      return {
        throttleTimeMs: 0,
        results: request.resources.map((resource) => {
          const { resourceName, resourceType, configurationKeys } = resource;
          const description = describe(resource);
          const refusal = 'code' in description ? description : undefined;
          const wanted = configurationKeys?.length ? new Set(configurationKeys) : undefined;
          return {
            errorCode: refusal?.code ?? 0,
            errorMessage: refusal?.message ?? '',
            resourceType,
            resourceName,
            configs: ('code' in description ? [] : description)
              .filter(({ definition }) => wanted === undefined || wanted.has(definition.name))
              .map((each) => configResult(each, request, apiVersion)),
          };
        }),
      };
    },
    fail: ({ resources }, errorCode) => ({
      throttleTimeMs: 0,
      results: resources.map(({ resourceType, resourceName }) => ({
        errorCode,
        errorMessage: null,
        resourceType,
        resourceName,
        configs: [],
      })),
    }),
  });
}

function configResult(
  described: DescribedConfig,
  request: DescribeConfigsRequest,
  apiVersion: number,
): ConfigResult {
  const { definition, source, synonyms } = described;
  const isSensitive = definition.type === 'PASSWORD';
  return {
    name: definition.name,
    value: isSensitive ? null : described.text,
    readOnly: described.readOnly ?? false,
    // Later versions tell the source and have no place for it.
    ...(apiVersion === 0 ? { isDefault: source === configSources.DEFAULT_CONFIG } : {}),
    configSource: source,
    isSensitive,
    synonyms: request.includeSynonyms
      ? synonyms.map((synonym) => ({
          name: synonym.name,
          value: isSensitive ? null : synonym.text,
          source: synonym.source,
        }))
      : [],
    configType: configTypeCodes[definition.type],
    documentation: request.includeDocumentation ? definition.documentation : null,
  };
}
