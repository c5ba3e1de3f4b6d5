/**
 * Changing the settings of resources: what AlterConfigs and IncrementalAlterConfigs have in common. Refusals are those of Kafka's
 * ConfigAdminManager, in its order.
 */
import { type ApiError, apiError } from '../services/api-error.ts';
import {
  applyConfigOperations,
  type ConfigOperation,
  configOperations,
} from '../services/configuration/config-operations.ts';
import { topicConfigDefinition, topicDefault } from '../services/configuration/topic-config.ts';
import { changeLoggers } from './broker-loggers.ts';
import { brokerIdOf, configResourceTypes } from './config-resources.ts';
import { duplicatesOf } from './duplicates.ts';
import type { Services } from './services.ts';

export type ConfigServices = Pick<
  Services,
  'config' | 'dynamicConfig' | 'groupConfigs' | 'log' | 'topics'
> & {
  readonly clientMetrics: Pick<Services['clientMetrics'], 'subscriptions'>;
};

export interface ResourceChange {
  readonly resourceType: number;
  readonly resourceName: string;
  readonly operations: readonly ConfigOperation[];
}

/** `replace`: what is named is all that is set afterwards (AlterConfigs). `change`: the rest stays (IncrementalAlterConfigs). */
export type ChangeMode = 'replace' | 'change';

export interface ResourceAnswer {
  readonly errorCode: number;
  readonly errorMessage: string | null;
  readonly resourceType: number;
  readonly resourceName: string;
}

/** One answer for each resource, in order. Resources are changed one after another; each is changed whole or not at all. */
export async function changeResources(
  services: ConfigServices,
  changes: readonly ResourceChange[],
  mode: ChangeMode,
  validateOnly: boolean,
): Promise<readonly ResourceAnswer[]> {
  const keyOf = (change: ResourceChange) => `${change.resourceType}/${change.resourceName}`;
  const repeated = duplicatesOf(changes.map(keyOf));
  const answers: ResourceAnswer[] = [];
  for (const change of changes) {
    const error = repeated.has(keyOf(change))
      ? apiError('INVALID_REQUEST', 'Each resource must appear at most once.')
      : await changeResource(services, change, mode, validateOnly);
    answers.push({
      errorCode: error?.code ?? 0,
      errorMessage: error?.message ?? null,
      resourceType: change.resourceType,
      resourceName: change.resourceName,
    });
  }
  return answers;
}

async function changeResource(
  services: ConfigServices,
  change: ResourceChange,
  mode: ChangeMode,
  validateOnly: boolean,
): Promise<ApiError | undefined> {
  const { operations, resourceName, resourceType } = change;
  const fault = operationsFault(operations);
  if (fault !== undefined) return fault;
  switch (resourceType) {
    case configResourceTypes.TOPIC:
      if (resourceName === '') {
        return apiError('INVALID_REQUEST', 'Default topic resources are not allowed.');
      }
      return changeTopic(services, change, mode, validateOnly);
    case configResourceTypes.BROKER:
      return changeBroker(services, change, mode, validateOnly);
    case configResourceTypes.BROKER_LOGGER:
      if (mode === 'change') return changeLogger(services, change, validateOnly);
      break;
    case configResourceTypes.CLIENT_METRICS:
      if (resourceName === '') return apiError('INVALID_REQUEST', "Subscription name can't be empty");
      return mode === 'replace'
        ? services.clientMetrics.subscriptions.replace(resourceName, valuesOf(operations), validateOnly)
        : services.clientMetrics.subscriptions.change(resourceName, operations, validateOnly);
    case configResourceTypes.GROUP:
      if (resourceName === '') {
        return apiError('INVALID_REQUEST', 'Default group resources are not allowed.');
      }
      return mode === 'replace'
        ? services.groupConfigs.replace(resourceName, valuesOf(operations), validateOnly)
        : services.groupConfigs.change(resourceName, operations, validateOnly);
  }
  return apiError('INVALID_REQUEST', `Unknown resource type ${resourceType}`);
}

function operationsFault(operations: readonly ConfigOperation[]): ApiError | undefined {
  if (duplicatesOf(operations.map(({ name }) => name)).size > 0) {
    return apiError('INVALID_REQUEST', 'Error due to duplicate config keys');
  }
  const nulls = operations.filter(
    ({ operation, value }) => value === null && operation !== configOperations.DELETE,
  );
  if (nulls.length > 0) {
    const names = nulls.map(({ name }) => name).join(', ');
    return apiError('INVALID_REQUEST', `Null value not supported for : ${names}`);
  }
  const known = Object.values<number>(configOperations);
  const strange = operations.find(({ operation }) => !known.includes(operation));
  return strange === undefined
    ? undefined
    : apiError('INVALID_REQUEST', `Unknown operation ${strange.operation} for ${strange.name}`);
}

async function changeTopic(
  { config, topics }: ConfigServices,
  { operations, resourceName }: ResourceChange,
  mode: ChangeMode,
  validateOnly: boolean,
): Promise<ApiError | undefined> {
  const rules = {
    definition: topicConfigDefinition,
    fallback: (name: string) => topicDefault(name, config).text,
    notAList: (operation: string, name: string) =>
      `Can't ${operation} to key ${name} because its type is not LIST.`,
  };
  const outcome = await topics.alterOverrides(
    resourceName,
    (current) =>
      mode === 'replace' ? valuesOf(operations) : applyConfigOperations(current, operations, rules),
    validateOnly,
  );
  return 'error' in outcome ? outcome.error : undefined;
}

async function changeBroker(
  { config, dynamicConfig }: ConfigServices,
  { operations, resourceName }: ResourceChange,
  mode: ChangeMode,
  validateOnly: boolean,
): Promise<ApiError | undefined> {
  if (resourceName !== '') {
    const nodeId = config.int('node.id');
    const asked = brokerIdOf(resourceName);
    if (asked === undefined) {
      return apiError('INVALID_REQUEST', `Node id must be an integer, but it is: ${resourceName}`);
    }
    if (asked !== nodeId) {
      return apiError(
        'INVALID_REQUEST',
        `Unexpected broker id, expected ${nodeId}, but received ${resourceName}`,
      );
    }
  }
  const scope = resourceName === '' ? 'all-brokers' : 'this-broker';
  return mode === 'replace'
    ? dynamicConfig.replace(scope, valuesOf(operations), validateOnly)
    : dynamicConfig.change(scope, operations, validateOnly);
}

function changeLogger(
  { config, log }: ConfigServices,
  { operations, resourceName }: ResourceChange,
  validateOnly: boolean,
): ApiError | undefined {
  const nodeId = config.int('node.id');
  const asked = brokerIdOf(resourceName);
  if (asked === undefined) {
    return apiError('INVALID_REQUEST', `Node id must be an integer, but it is: ${resourceName}`);
  }
  if (asked !== nodeId) {
    return apiError('INVALID_REQUEST', `Unexpected node id. Expected ${nodeId}, but received ${asked}`);
  }
  return changeLoggers(log, operations, validateOnly);
}

/** One answer for each resource, where the whole request fails. */
export function failedResources(
  resources: readonly { readonly resourceType: number; readonly resourceName: string }[],
  errorCode: number,
): readonly ResourceAnswer[] {
  return resources.map(({ resourceType, resourceName }) => ({
    errorCode,
    errorMessage: null,
    resourceType,
    resourceName,
  }));
}

function valuesOf(operations: readonly ConfigOperation[]): ReadonlyMap<string, string> {
  return new Map(operations.map(({ name, value }) => [name, value ?? '']));
}
