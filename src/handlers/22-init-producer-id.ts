/**
 * InitProducerId, versions 0 to 5 (6 is not stable). 2: flexible; 3: producer id and epoch of the caller (KIP-360); 4: the
 * error PRODUCER_FENCED; 5: the error TRANSACTION_ABORTABLE (KIP-890).
 *
 * Without a transactional id a new producer id with epoch 0 is the answer, whatever the caller had: as in Kafka, an
 * idempotent producer raises its epoch by itself. With one, the answer is TRANSACTIONAL_ID_AUTHORIZATION_FAILED until
 * transactions exist: of all errors it is the one that Java, librdkafka, franz-go and kafkajs take for final, where others make
 * them ask again until their time is over.
 */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type InitProducerIdRequest,
  type InitProducerIdResponseInput,
  initProducerIdRequest,
  initProducerIdResponse,
} from '../../protocol/generated/22-init-producer-id.ts';
import type { ProducerIds } from '../services/producers/producer-ids.ts';
import type { Log } from '../util/log.ts';
import { defineHandler } from './handler.ts';

export interface InitProducerIdServices {
  readonly producerIds: ProducerIds;
  readonly log: Log;
}

const none = -1;

export function initProducerIdHandler({ producerIds, log }: InitProducerIdServices) {
  return defineHandler<InitProducerIdRequest, InitProducerIdResponseInput>({
    apiKey: 22,
    minVersion: 0,
    maxVersion: 5,
    request: initProducerIdRequest,
    response: initProducerIdResponse,
    handle(request) {
      // Both or none.
      if ((request.producerId === none) !== (request.producerEpoch === none))
        return refusal(errorCodes.INVALID_REQUEST);
      if (request.transactionalId === '') return refusal(errorCodes.INVALID_REQUEST);
      if (request.transactionalId !== null) return refusal(errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
      return allocate();
    },
    fail: (_request, errorCode) => refusal(errorCode),
  });

  async function allocate(): Promise<InitProducerIdResponseInput> {
    try {
      const producerId = await producerIds.allocate();
      return { throttleTimeMs: 0, errorCode: errorCodes.NONE, producerId, producerEpoch: 0 };
    } catch (error) {
      log.error({ error }, 'no producer id can be given out');
      // What Kafka answers while it has no block: the client asks again.
      return refusal(errorCodes.COORDINATOR_LOAD_IN_PROGRESS);
    }
  }
}

function refusal(errorCode: number): InitProducerIdResponseInput {
  return { throttleTimeMs: 0, errorCode, producerId: none, producerEpoch: none };
}
