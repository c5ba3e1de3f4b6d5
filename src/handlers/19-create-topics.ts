/**
 * CreateTopics, versions 0 to 7. All topics of a request that can be created are there, durably, when it is answered; the timeout
 * is not looked at, since nothing is waited for.
 *
 * 1: validate only, error messages. 2: throttle time. 3: throttling rules only.
 * 4: -1 for the broker's number of partitions and copies (taken in every version, as Kafka does).
 * 5: flexible; the answer tells partitions, copies and settings. 6: throttling rules only. 7: the answer tells the topic id.
 */

import { errorCodes } from '../../protocol/error-codes.ts';
import type {
  CreateTopicsRequest,
  CreateTopicsRequestCreatableTopic,
  CreateTopicsResponseCreatableTopicConfigsInput,
  CreateTopicsResponseCreatableTopicResultInput,
  CreateTopicsResponseInput,
} from '../../protocol/generated/19-create-topics.ts';
import { createTopicsRequest, createTopicsResponse } from '../../protocol/generated/19-create-topics.ts';
import { type ApiError, apiError } from '../services/api-error.ts';
import { describeTopicConfig } from '../services/configuration/topic-config.ts';
import type { Topic } from '../services/topics/topic.ts';
import type { NewTopic } from '../services/topics/topic-catalogue.ts';
import { changeRation } from './change-ration.ts';
import { duplicatesOf } from './duplicates.ts';
import { type AnyHandler, defineHandler } from './handler.ts';
import type { Services } from './services.ts';

type TopicResult = CreateTopicsResponseCreatableTopicResultInput;
type ConfigsAnswer = readonly CreateTopicsResponseCreatableTopicConfigsInput[];

const firstVersionWithDetails = 5;
const firstStrictVersion = 6;

export type CreateTopicsServices = Pick<Services, 'config' | 'topics'> & Partial<Pick<Services, 'quotas'>>;

export function createTopicsHandler(services: CreateTopicsServices): AnyHandler {
  const { config, quotas, topics } = services;

  function refused(name: string, { code, message }: ApiError): TopicResult {
    return { name, errorCode: code, errorMessage: message, configs: [] };
  }

  /** Told with every topic; topics of one request mostly set the same. */
  function describedConfigs(): (topic: Topic) => ConfigsAnswer {
    const described = new Map<string, ConfigsAnswer>();
    return ({ overrides }) => {
      const key = JSON.stringify([...overrides]);
      let configs = described.get(key);
      if (configs === undefined) {
        configs = describeTopicConfig(overrides, config).map(({ definition, text, source }) => ({
          name: definition.name,
          // As it was given where it was given, as in Kafka.
          value: overrides.get(definition.name) ?? text,
          readOnly: false,
          configSource: source,
          isSensitive: false,
        }));
        described.set(key, configs);
      }
      return configs;
    };
  }

  function created(topic: Topic, version: number, configsOf: (topic: Topic) => ConfigsAnswer): TopicResult {
    const done = { name: topic.name, errorCode: errorCodes.NONE, errorMessage: null };
    if (version < firstVersionWithDetails) return done;
    return {
      ...done,
      topicId: topic.id,
      numPartitions: topic.partitions.length,
      replicationFactor: 1,
      configs: configsOf(topic),
    };
  }

  return defineHandler<CreateTopicsRequest, CreateTopicsResponseInput>({
    apiKey: 19,
    minVersion: 0,
    maxVersion: 7,
    request: createTopicsRequest,
    response: createTopicsResponse,
    async handle(request, context) {
      const { apiVersion } = context;
      const repeated = duplicatesOf(request.topics.map(({ name }) => name));
      const accepted: NewTopic[] = [];
      const results: TopicResult[] = [];
      for (const name of repeated) {
        results.push(refused(name, apiError('INVALID_REQUEST', 'Duplicate topic name.')));
      }
      for (const topic of request.topics) {
        if (repeated.has(topic.name)) continue;
        const wanted = newTopic(topic);
        if ('code' in wanted) results.push(refused(topic.name, wanted));
        else accepted.push(wanted);
      }
      const ration = changeRation(quotas, context, firstStrictVersion);
      const configsOf = describedConfigs();
      const outcomes =
        accepted.length === 0 ? [] : await topics.create(accepted, request.validateOnly, ration.mayChange);
      context.throttle(ration.settle());
      for (const [at, outcome] of outcomes.entries()) {
        const name = accepted[at]!.name;
        results.push(
          'topic' in outcome ? created(outcome.topic, apiVersion, configsOf) : refused(name, outcome.error),
        );
      }
      return { topics: inOrderOf(request.topics, results) };
    },
    fail: (request, errorCode) => ({
      topics: request.topics.map(({ name }) => ({ name, errorCode, errorMessage: null, configs: [] })),
    }),
  });
}

function newTopic(topic: CreateTopicsRequestCreatableTopic): NewTopic | ApiError {
  const overrides = new Map<string, string>();
  const nulls: string[] = [];
  for (const { name, value } of topic.configs) {
    if (value === null) nulls.push(name);
    else overrides.set(name, value);
  }
  if (nulls.length > 0) {
    return apiError('INVALID_CONFIG', `Null value not supported for topic configs: ${nulls.join(', ')}`);
  }
  return {
    name: topic.name,
    partitions: topic.numPartitions,
    replicationFactor: topic.replicationFactor,
    assignments: topic.assignments.map(({ partitionIndex, brokerIds }) => ({
      partition: partitionIndex,
      brokers: brokerIds,
    })),
    overrides,
  };
}

/** One result a name, in the order in which the names were first asked for. */
function inOrderOf(
  asked: readonly { readonly name: string }[],
  results: readonly TopicResult[],
): readonly TopicResult[] {
  const byName = new Map(results.map((result) => [result.name, result]));
  return [...new Set(asked.map(({ name }) => name))].map((name) => byName.get(name)!);
}
