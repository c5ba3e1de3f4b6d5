/**
 * FindCoordinator, versions 0 to 6. 1: key type, throttle time, error message; 3: flexible; 4: many keys in one request (KIP-699);
 * 5: the error TRANSACTION_ABORTABLE; 6: share coordinators.
 *
 * One broker coordinates everything, at the address of the listener that was asked. The topics that groups and transactions are kept
 * in are made when somebody first looks for a coordinator of theirs. There are no share groups: INVALID_REQUEST, as Kafka answers
 * without them.
 */
import { type ErrorCode, errorCodes, errorName } from '../../protocol/error-codes.ts';
import {
  type FindCoordinatorRequest,
  type FindCoordinatorResponseCoordinatorInput,
  type FindCoordinatorResponseInput,
  findCoordinatorRequest,
  findCoordinatorResponse,
} from '../../protocol/generated/10-find-coordinator.ts';
import type { GroupCoordinator } from '../services/groups/group-coordinator.ts';
import type { TransactionCoordinator } from '../services/transactions/transaction-coordinator.ts';
import type { Log } from '../util/log.ts';
import { defineHandler, type ListenerInfo } from './handler.ts';

export interface FindCoordinatorServices {
  readonly groups: Pick<GroupCoordinator, 'ensureTopic'>;
  readonly transactions: Pick<TransactionCoordinator, 'ensureTopic'>;
  readonly nodeId: number;
  readonly log: Log;
}

const groupKeyType = 0;
const transactionKeyType = 1;
const firstVersionWithManyKeys = 4;

interface Finding {
  readonly errorCode: ErrorCode;
  readonly errorMessage: string;
}

const notAvailable: Finding = {
  errorCode: errorCodes.COORDINATOR_NOT_AVAILABLE,
  errorMessage: 'The coordinator is not available.',
};
const found: Finding = { errorCode: errorCodes.NONE, errorMessage: '' };
/** What Kafka's message of no error says where there is one key. */
const noErrorMessage = 'NONE';

export function findCoordinatorHandler({ groups, transactions, nodeId, log }: FindCoordinatorServices) {
  return defineHandler<FindCoordinatorRequest, FindCoordinatorResponseInput>({
    apiKey: 10,
    minVersion: 0,
    maxVersion: 6,
    request: findCoordinatorRequest,
    response: findCoordinatorResponse,
    async handle(request, { apiVersion, connection }) {
      return answer(request, await find(request.keyType), apiVersion, connection.listener);
    },
    fail: (request, errorCode, { apiVersion, connection }) =>
      answer(
        request,
        { errorCode: errorCode as ErrorCode, errorMessage: errorName(errorCode) },
        apiVersion,
        connection.listener,
      ),
  });

  async function find(keyType: number): Promise<Finding> {
    if (keyType !== groupKeyType && keyType !== transactionKeyType) {
      return {
        errorCode: errorCodes.INVALID_REQUEST,
        errorMessage: `There is no coordinator of type ${keyType}.`,
      };
    }
    try {
      await (keyType === groupKeyType ? groups : transactions).ensureTopic();
      return found;
    } catch (error) {
      log.error({ err: error, keyType }, 'the topic of a coordinator could not be made');
      return notAvailable;
    }
  }

  function answer(
    request: FindCoordinatorRequest,
    finding: Finding,
    version: number,
    listener: ListenerInfo,
  ): FindCoordinatorResponseInput {
    const node =
      finding.errorCode === errorCodes.NONE
        ? { nodeId, host: listener.advertisedHost, port: listener.advertisedPort }
        : { nodeId: -1, host: '', port: -1 };
    if (version < firstVersionWithManyKeys) {
      return { ...node, errorCode: finding.errorCode, errorMessage: finding.errorMessage || noErrorMessage };
    }
    const coordinators: FindCoordinatorResponseCoordinatorInput[] = request.coordinatorKeys.map((key) => ({
      key,
      ...finding,
      ...node,
    }));
    return { coordinators };
  }
}
