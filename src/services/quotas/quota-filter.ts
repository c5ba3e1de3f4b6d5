/** Which entities a DescribeClientQuotas request asks for (KIP-546). Checks are those of Kafka's ClientQuotasImage, in its words. */
import { type ApiError, apiError } from '../api-error.ts';
import { entityTypes, type QuotaEntity } from './quota-entity.ts';

export interface FilterPart {
  readonly entityType: string;
  readonly matchType: number;
  readonly match: string | null;
}

const matchTypes = { exact: 0, default: 1, specified: 2 } as const;
const known: readonly string[] = Object.values(entityTypes);

export type QuotaFilter = (entity: QuotaEntity) => boolean;

/** `strict`: entities that have other parts than those asked for do not match. */
export function quotaFilter(parts: readonly FilterPart[], strict: boolean): QuotaFilter | ApiError {
  /** The name to match; undefined for any. */
  const wanted = new Map<string, string | null | undefined>();
  for (const { entityType, matchType, match } of parts) {
    if (entityType === '') return apiError('INVALID_REQUEST', 'Invalid empty entity type.');
    if (wanted.has(entityType)) {
      return apiError(
        'INVALID_REQUEST',
        `Entity type ${entityType} cannot appear more than once in the filter.`,
      );
    }
    if (!known.includes(entityType)) {
      return apiError('UNSUPPORTED_VERSION', `Unsupported entity type ${entityType}`);
    }
    switch (matchType) {
      case matchTypes.exact:
        if (match === null) {
          return apiError(
            'INVALID_REQUEST',
            'Request specified MATCH_TYPE_EXACT, but set match string to null.',
          );
        }
        wanted.set(entityType, match);
        break;
      case matchTypes.default:
        if (match !== null) {
          return apiError(
            'INVALID_REQUEST',
            'Request specified MATCH_TYPE_DEFAULT, but also specified a match string.',
          );
        }
        wanted.set(entityType, null);
        break;
      case matchTypes.specified:
        if (match !== null) {
          return apiError(
            'INVALID_REQUEST',
            'Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.',
          );
        }
        wanted.set(entityType, undefined);
        break;
      default:
        return apiError('INVALID_REQUEST', `Unknown match type ${matchType}`);
    }
  }
  if (wanted.has(entityTypes.ip) && wanted.size > 1) {
    return apiError(
      'INVALID_REQUEST',
      'Invalid entity filter component combination. IP filter component should not be used with user or clientId filter component.',
    );
  }
  return (entity) => {
    if (strict && entity.size !== wanted.size) return false;
    for (const [type, name] of wanted) {
      if (!entity.has(type)) return false;
      if (name !== undefined && entity.get(type) !== name) return false;
    }
    return true;
  };
}
