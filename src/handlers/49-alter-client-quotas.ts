/**
 * AlterClientQuotas, versions 0 and 1: sets and removes quotas of users, client ids and addresses (KIP-546). Each entity is changed
 * whole or not at all; done, durably, and in force when it is answered. 1: flexible.
 */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type AlterClientQuotasRequest,
  type AlterClientQuotasResponseEntryDataInput,
  type AlterClientQuotasResponseInput,
  alterClientQuotasRequest,
  alterClientQuotasResponse,
} from '../../protocol/generated/49-alter-client-quotas.ts';
import type { EntityPart } from '../services/quotas/quota-entity.ts';
import { defineHandler } from './handler.ts';
import type { Services } from './services.ts';

export function alterClientQuotasHandler({ clientQuotas }: Pick<Services, 'clientQuotas'>) {
  return defineHandler<AlterClientQuotasRequest, AlterClientQuotasResponseInput>({
    apiKey: 49,
    minVersion: 0,
    maxVersion: 1,
    request: alterClientQuotasRequest,
    response: alterClientQuotasResponse,
    async handle({ entries, validateOnly }) {
      const answers = await clientQuotas.alter(
        entries.map(({ entity, ops }) => ({ entity, operations: ops })),
        validateOnly,
      );
      // One answer an entity, also where it was named twice.
      const told = new Map<string, AlterClientQuotasResponseEntryDataInput>();
      for (const [at, { entity }] of entries.entries()) {
        const parts = lastOfEachType(entity);
        told.set(JSON.stringify(parts), {
          errorCode: answers[at]?.code ?? errorCodes.NONE,
          errorMessage: answers[at]?.message ?? null,
          entity: parts,
        });
      }
      return { throttleTimeMs: 0, entries: [...told.values()] };
    },
    fail: ({ entries }, errorCode) => ({
      throttleTimeMs: 0,
      entries: entries.map(({ entity }) => ({ errorCode, errorMessage: null, entity })),
    }),
  });
}

function lastOfEachType(parts: readonly EntityPart[]): readonly EntityPart[] {
  return [...new Map(parts.map((part) => [part.entityType, part])).values()];
}
