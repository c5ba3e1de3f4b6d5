/**
 * DeleteTopics, versions 0 to 6. Topics, their records and the offsets committed for them are gone, durably, when it is answered;
 * the timeout is not looked at, since nothing is waited for.
 *
 * 1: throttle time. 2: throttling rules only. 3: a broker that does not allow it answers TOPIC_DELETION_DISABLED (before:
 * INVALID_REQUEST). 4: flexible. 5: error messages. 6: topics may be given by id.
 */

import { errorCodes } from '../../protocol/error-codes.ts';
import type {
  DeleteTopicsRequest,
  DeleteTopicsResponseDeletableTopicResultInput,
  DeleteTopicsResponseInput,
} from '../../protocol/generated/20-delete-topics.ts';
import { deleteTopicsRequest, deleteTopicsResponse } from '../../protocol/generated/20-delete-topics.ts';
import { ZERO_UUID } from '../../protocol/wire/uuid.ts';
import { type ApiError, apiError } from '../services/api-error.ts';
import { changeRation } from './change-ration.ts';
import { duplicatesOf } from './duplicates.ts';
import { type AnyHandler, defineHandler } from './handler.ts';
import type { Services } from './services.ts';

type TopicResult = DeleteTopicsResponseDeletableTopicResultInput;

const firstVersionWithDeletionDisabled = 3;
const firstVersionWithIds = 6;

interface Doomed {
  readonly name: string;
  readonly topicId: string;
}

export type DeleteTopicsServices = Pick<Services, 'config' | 'topics'> & Partial<Pick<Services, 'quotas'>>;

const firstStrictVersion = 5;

export function deleteTopicsHandler(services: DeleteTopicsServices): AnyHandler {
  const { config, quotas, topics } = services;

  function refused(name: string | null, topicId: string, { code, message }: ApiError): TopicResult {
    return { name, topicId, errorCode: code, errorMessage: message };
  }

  return defineHandler<DeleteTopicsRequest, DeleteTopicsResponseInput>({
    apiKey: 20,
    minVersion: 0,
    maxVersion: 6,
    request: deleteTopicsRequest,
    response: deleteTopicsResponse,
    async handle(request, context) {
      const { apiVersion } = context;
      const asked =
        apiVersion < firstVersionWithIds
          ? request.topicNames.map((name) => ({ name, topicId: ZERO_UUID }))
          : request.topics;
      if (!config.boolean('delete.topic.enable')) {
        const code =
          apiVersion < firstVersionWithDeletionDisabled ? 'INVALID_REQUEST' : 'TOPIC_DELETION_DISABLED';
        const error = apiError(code, 'Topic deletion is disabled.');
        return { responses: asked.map(({ name, topicId }) => refused(name ?? null, topicId, error)) };
      }
      const responses: TopicResult[] = [];
      const doomed: Doomed[] = [];
      const repeatedNames = duplicatesOf(asked.flatMap(({ name }) => (name === null ? [] : [name])));
      const repeatedIds = duplicatesOf(
        asked.flatMap(({ name, topicId }) => (name === null && topicId !== ZERO_UUID ? [topicId] : [])),
      );
      for (const name of repeatedNames) {
        responses.push(refused(name, ZERO_UUID, apiError('INVALID_REQUEST', 'Duplicate topic name.')));
      }
      for (const id of repeatedIds) {
        responses.push(refused(null, id, apiError('INVALID_REQUEST', 'Duplicate topic id.')));
      }
      const names = new Set(asked.map(({ name }) => name));
      const ids = new Set(asked.map(({ topicId }) => topicId));
      for (const { name, topicId } of asked) {
        if (name === null && topicId === ZERO_UUID) {
          const error = apiError('INVALID_REQUEST', 'Neither topic name nor id were specified.');
          responses.push(refused(null, topicId, error));
        } else if (name !== null && topicId !== ZERO_UUID) {
          const error = apiError('INVALID_REQUEST', 'You may not specify both topic name and topic id.');
          responses.push(refused(name, topicId, error));
        } else if (name !== null) {
          if (repeatedNames.has(name)) continue;
          const id = topics.get(name)?.id ?? ZERO_UUID;
          if (id !== ZERO_UUID && ids.has(id)) {
            const message = 'The provided topic name maps to an ID that was already supplied.';
            responses.push(refused(name, id, apiError('INVALID_REQUEST', message)));
          } else doomed.push({ name, topicId: id });
        } else if (!repeatedIds.has(topicId)) {
          const topic = topics.byId(topicId);
          if (topic === undefined) {
            const error = apiError('UNKNOWN_TOPIC_ID', 'This server does not host this topic ID.');
            responses.push(refused(null, topicId, error));
          } else if (!names.has(topic.name)) doomed.push({ name: topic.name, topicId });
        }
      }
      const ration = changeRation(quotas, context, firstStrictVersion);
      const doomedNames = doomed.map(({ name }) => name);
      const outcomes = doomed.length === 0 ? [] : await topics.delete(doomedNames, ration.mayChange);
      context.throttle(ration.settle());
      for (const [at, error] of outcomes.entries()) {
        const { name, topicId } = doomed[at]!;
        responses.push(
          error === undefined ? { name, topicId, errorCode: errorCodes.NONE } : refused(name, topicId, error),
        );
      }
      return { responses };
    },
    fail: (request, errorCode, { apiVersion }) => ({
      responses:
        apiVersion < firstVersionWithIds
          ? request.topicNames.map((name) => ({ name, errorCode }))
          : request.topics.map(({ name, topicId }) => ({ name, topicId, errorCode })),
    }),
  });
}
