/**
 * The operations of IncrementalAlterConfigs on a set of values: SET, DELETE, APPEND and SUBTRACT. Knows neither topics nor brokers:
 * the caller says what a name is and what it falls back to.
 */
import { type ApiError, apiError } from '../api-error.ts';
import { type ConfigDefinition, readConfig } from './config-definition.ts';

/** The codes of IncrementalAlterConfigs (AlterConfigOp.OpType). */
export const configOperations = { SET: 0, DELETE: 1, APPEND: 2, SUBTRACT: 3 } as const;

const operationNames = ['SET', 'DELETE', 'APPEND', 'SUBTRACT'] as const;

export interface ConfigOperation {
  readonly name: string;
  readonly operation: number;
  readonly value: string | null;
}

export interface ConfigOperationRules {
  definition(name: string): ConfigDefinition | undefined;
  /** What counts where the values say nothing, in text. */
  fallback(name: string): string | null;
  /** Kafka words this refusal in two ways. */
  notAList(operation: string, name: string): string;
}

export function isApiError(result: ReadonlyMap<string, string> | ApiError): result is ApiError {
  return 'code' in result;
}

/** The values after the operations; or why they cannot be. Values are not validated here. */
export function applyConfigOperations(
  current: ReadonlyMap<string, string>,
  operations: readonly ConfigOperation[],
  rules: ConfigOperationRules,
): ReadonlyMap<string, string> | ApiError {
  const next = new Map(current);
  for (const { name, operation, value } of operations) {
    if (operation === configOperations.DELETE) {
      next.delete(name);
      continue;
    }
    if (value === null) return apiError('INVALID_REQUEST', `Null value not supported for : ${name}`);
    if (operation === configOperations.SET) {
      next.set(name, value);
      continue;
    }
    const definition = rules.definition(name);
    if (definition?.type !== 'LIST') {
      return apiError('INVALID_CONFIG', rules.notAList(operationNames[operation] ?? String(operation), name));
    }
    const before = readConfig(definition, next.get(name) ?? rules.fallback(name) ?? '')
      .value as readonly string[];
    const named = readConfig(definition, value).value as readonly string[];
    const after =
      operation === configOperations.APPEND
        ? [...before, ...named.filter((item, at) => !before.includes(item) && named.indexOf(item) === at)]
        : before.filter((item) => !named.includes(item));
    next.set(name, after.join(','));
  }
  return next;
}
