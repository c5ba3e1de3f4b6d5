/**
 * Who a quota is for (KIP-546): a user, a client id, both, or an IP address; each by name, or the default of all that have no quota of
 * their own. Checks are those of Kafka's ClientQuotaControlManager, in its words.
 */
import { isIP } from 'node:net';
import { type ApiError, apiError } from '../api-error.ts';

export const entityTypes = { user: 'user', clientId: 'client-id', ip: 'ip' } as const;

/** Name by type; null is the default. Keys in the order of their names. */
export type QuotaEntity = ReadonlyMap<string, string | null>;

export interface EntityPart {
  readonly entityType: string;
  readonly entityName: string | null;
}

export type QuotaKey =
  | 'producer_byte_rate'
  | 'consumer_byte_rate'
  | 'request_percentage'
  | 'controller_mutation_rate'
  | 'connection_creation_rate';

type ValueType = 'LONG' | 'INT' | 'DOUBLE';

const clientKeys: ReadonlyMap<string, ValueType> = new Map([
  ['producer_byte_rate', 'LONG'],
  ['consumer_byte_rate', 'LONG'],
  ['request_percentage', 'DOUBLE'],
  ['controller_mutation_rate', 'DOUBLE'],
]);
const addressKeys: ReadonlyMap<string, ValueType> = new Map([['connection_creation_rate', 'INT']]);

const known: readonly string[] = Object.values(entityTypes);

/** The entity that parts name, or why they name none. Of a type that is named twice the last name counts. */
export function entityOf(parts: readonly EntityPart[]): QuotaEntity | ApiError {
  if (parts.length === 0) return apiError('INVALID_REQUEST', 'Invalid empty client quota entity');
  const entity = new Map<string, string | null>();
  for (const { entityType, entityName } of parts) {
    if (!known.includes(entityType)) {
      return apiError('INVALID_REQUEST', `Unhandled client quota entity type: ${entityType}`);
    }
    if (entityName === '') return apiError('INVALID_REQUEST', `Empty ${entityType} not supported`);
    entity.set(entityType, entityName);
  }
  return sorted(entity);
}

function sorted(entity: QuotaEntity): QuotaEntity {
  return new Map([...entity].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** One text an entity. */
export function entityText(entity: QuotaEntity): string {
  return JSON.stringify([...entity]);
}

export function entityFromText(text: string): QuotaEntity {
  return new Map(JSON.parse(text) as [string, string | null][]);
}

/** The quotas that an entity may have; or why it may have none. Addresses are numbers: no name is looked up. */
export function keysOf(entity: QuotaEntity): ReadonlyMap<string, ValueType> | ApiError {
  if (!entity.has(entityTypes.ip)) return clientKeys;
  if (entity.size > 1) {
    return apiError(
      'INVALID_REQUEST',
      'Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId',
    );
  }
  const address = entity.get(entityTypes.ip) ?? null;
  return address === null || isIP(address) !== 0
    ? addressKeys
    : apiError('INVALID_REQUEST', `${address} is not a valid IP or resolvable host.`);
}

/** Why the value may not stand. */
export function valueFault(
  keys: ReadonlyMap<string, ValueType>,
  key: string,
  value: number,
): ApiError | undefined {
  const type = keys.get(key);
  if (type === undefined) return apiError('INVALID_REQUEST', `Invalid configuration key ${key}`);
  if (!(value > 0)) return apiError('INVALID_REQUEST', `Quota ${key} must be greater than 0`);
  if (type === 'DOUBLE') return undefined;
  const largest = type === 'INT' ? 2 ** 31 - 1 : 2 ** 63;
  if (value > largest) {
    return apiError(
      'INVALID_REQUEST',
      `Proposed value for ${key} is too large for ${type === 'INT' ? 'an' : 'a'} ${type}.`,
    );
  }
  return Math.abs(value - Math.round(value)) > 1e-6
    ? apiError('INVALID_REQUEST', `${key} cannot be a fractional value.`)
    : undefined;
}
