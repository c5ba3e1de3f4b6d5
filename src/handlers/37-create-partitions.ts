/**
 * CreatePartitions, versions 0 to 3: raises the number of partitions of topics. Done, durably, when it is answered.
 *
 * 1: throttling rules only. 2: flexible. 3: throttling rules only.
 */

import { errorCodes } from '../../protocol/error-codes.ts';
import type {
  CreatePartitionsRequest,
  CreatePartitionsResponseInput,
} from '../../protocol/generated/37-create-partitions.ts';
import {
  createPartitionsRequest,
  createPartitionsResponse,
} from '../../protocol/generated/37-create-partitions.ts';
import { changeRation } from './change-ration.ts';
import { duplicatesOf } from './duplicates.ts';
import { type AnyHandler, defineHandler } from './handler.ts';
import type { Services } from './services.ts';

export type CreatePartitionsServices = Pick<Services, 'topics'> & Partial<Pick<Services, 'quotas'>>;

const firstStrictVersion = 3;

export function createPartitionsHandler(services: CreatePartitionsServices): AnyHandler {
  const { quotas, topics } = services;
  return defineHandler<CreatePartitionsRequest, CreatePartitionsResponseInput>({
    apiKey: 37,
    minVersion: 0,
    maxVersion: 3,
    request: createPartitionsRequest,
    response: createPartitionsResponse,
    async handle(request, context) {
      const ration = changeRation(quotas, context, firstStrictVersion);
      const repeated = duplicatesOf(request.topics.map(({ name }) => name));
      const wanted = request.topics.filter(({ name }) => !repeated.has(name));
      const outcomes =
        wanted.length === 0
          ? []
          : await topics.addPartitions(
              wanted.map(({ name, count, assignments }) => ({
                name,
                count,
                assignments: assignments === null ? null : assignments.map(({ brokerIds }) => brokerIds),
              })),
              request.validateOnly,
              ration.mayChange,
            );
      context.throttle(ration.settle());
      return {
        throttleTimeMs: 0,
        results: [
          ...[...repeated].map((name) => ({
            name,
            errorCode: errorCodes.INVALID_REQUEST,
            errorMessage: 'Duplicate topic name.',
          })),
          ...outcomes.map((outcome, at) => ({
            name: wanted[at]!.name,
            errorCode: 'error' in outcome ? outcome.error.code : errorCodes.NONE,
            errorMessage: 'error' in outcome ? outcome.error.message : null,
          })),
        ],
      };
    },
    fail: (request, errorCode) => ({
      throttleTimeMs: 0,
      results: request.topics.map(({ name }) => ({ name, errorCode })),
    }),
  });
}
