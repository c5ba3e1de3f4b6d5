/**
 * DescribeCluster, versions 0 to 2: the brokers and the id of the cluster. Addresses are those of the listener that the request came
 * in on.
 *
 * 1: asked for brokers or for controllers (KIP-919). 2: fenced brokers may be asked for; there are none.
 */

import { errorCodes } from '../../protocol/error-codes.ts';
import type {
  DescribeClusterRequest,
  DescribeClusterResponseInput,
} from '../../protocol/generated/60-describe-cluster.ts';
import {
  describeClusterRequest,
  describeClusterResponse,
} from '../../protocol/generated/60-describe-cluster.ts';
import { authorizedOperations } from './authorized-operations.ts';
import { type AnyHandler, defineHandler } from './handler.ts';
import type { Services } from './services.ts';

const brokers = 1;
const controllers = 2;

export function describeClusterHandler({ config, engine }: Pick<Services, 'config' | 'engine'>): AnyHandler {
  const nodeId = config.int('node.id');

  function refused(errorCode: number, errorMessage: string | null): DescribeClusterResponseInput {
    return { throttleTimeMs: 0, errorCode, errorMessage, clusterId: '', brokers: [] };
  }

  return defineHandler<DescribeClusterRequest, DescribeClusterResponseInput>({
    apiKey: 60,
    minVersion: 0,
    maxVersion: 2,
    request: describeClusterRequest,
    response: describeClusterResponse,
    handle(request, { connection }) {
      if (request.endpointType === controllers) {
        return refused(
          errorCodes.MISMATCHED_ENDPOINT_TYPE,
          'The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER',
        );
      }
      if (request.endpointType !== brokers) {
        return refused(
          errorCodes.UNSUPPORTED_ENDPOINT_TYPE,
          `Unsupported endpoint type ${request.endpointType}`,
        );
      }
      const { advertisedHost: host, advertisedPort: port } = connection.listener;
      return {
        throttleTimeMs: 0,
        errorCode: errorCodes.NONE,
        endpointType: brokers,
        clusterId: engine.storageId,
        controllerId: nodeId,
        brokers: [{ brokerId: nodeId, host, port, rack: config.string('broker.rack') }],
        clusterAuthorizedOperations: request.includeClusterAuthorizedOperations
          ? authorizedOperations.cluster
          : authorizedOperations.notAsked,
      };
    },
    fail: (_request, errorCode) => refused(errorCode, null),
  });
}
