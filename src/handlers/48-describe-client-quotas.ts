/** DescribeClientQuotas, versions 0 and 1: the quotas set for users, client ids and addresses (KIP-546). 1: flexible. */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type DescribeClientQuotasRequest,
  type DescribeClientQuotasResponseInput,
  describeClientQuotasRequest,
  describeClientQuotasResponse,
} from '../../protocol/generated/48-describe-client-quotas.ts';
import { quotaFilter } from '../services/quotas/quota-filter.ts';
import { defineHandler } from './handler.ts';
import type { Services } from './services.ts';

export function describeClientQuotasHandler({ clientQuotas }: Pick<Services, 'clientQuotas'>) {
  return defineHandler<DescribeClientQuotasRequest, DescribeClientQuotasResponseInput>({
    apiKey: 48,
    minVersion: 0,
    maxVersion: 1,
    request: describeClientQuotasRequest,
    response: describeClientQuotasResponse,
    handle({ components, strict }) {
      const filter = quotaFilter(components, strict);
      if (typeof filter !== 'function') {
        return {
          throttleTimeMs: 0,
          errorCode: filter.code,
          errorMessage: filter.message,
          entries: null,
        };
      }
      const rows = [...clientQuotas.rows()].filter(({ entity }) => filter(entity));
      return {
        throttleTimeMs: 0,
        errorCode: errorCodes.NONE,
        errorMessage: '',
        entries: rows.map(({ entity, values }) => ({
          entity: [...entity].map(([entityType, entityName]) => ({ entityType, entityName })),
          values: [...values].map(([key, value]) => ({ key, value })),
        })),
      };
    },
    fail: (_request, errorCode) => ({ throttleTimeMs: 0, errorCode, errorMessage: null, entries: null }),
  });
}
