/**
 * ApiVersions 0-5: which APIs and versions are served.
 *
 * 1 adds the throttle time, 3 the client's software and the features, 4 features whose lowest version is 0, 5 the broker that
 * the client believes to be talking to (KIP-1242). A version that is not known is answered in version 0 with error 35 and the
 * one entry that says which are (KIP-511); the router asks `fail` for that. The answer's header is never flexible.
 */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type ApiVersionsRequest,
  type ApiVersionsResponseInput,
  apiVersionsRequest,
  apiVersionsResponse,
} from '../../protocol/generated/18-api-versions.ts';
import type { FeatureLevels } from '../services/configuration/feature-levels.ts';
import { type AnyHandler, defineHandler, type RequestContext } from './handler.ts';

const apiKey = 18;
const minVersion = 0;
const maxVersion = 5;

export interface ApiVersionsSource {
  /** Everything served besides ApiVersions itself. */
  readonly handlers: readonly AnyHandler[];
  /** Features that operators may raise and lower while the broker runs; none where it is missing. */
  readonly featureLevels: Pick<FeatureLevels, 'all' | 'epoch'> | undefined;
  readonly clusterId: string;
  readonly nodeId: number;
}

/** What Kafka takes for a name or version of client software (KIP-511). */
const softwarePattern = /^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$/;
/** From here on clients understand features whose lowest version is 0. */
const featuresFromZero = 4;
const firstWithFeatures = 3;

export function apiVersionsHandler(source: ApiVersionsSource): AnyHandler {
  const apiKeys = [...source.handlers, { apiKey, minVersion, maxVersion }]
    .map((handler) => ({
      apiKey: handler.apiKey,
      minVersion: handler.minVersion,
      maxVersion: handler.maxVersion,
    }))
    .sort((a, b) => a.apiKey - b.apiKey);
  const answerWith = (leastVersion: number): ApiVersionsResponseInput => {
    const features = source.featureLevels?.all() ?? [];
    return {
      errorCode: errorCodes.NONE,
      apiKeys,
      supportedFeatures: features
        .filter((feature) => feature.minVersion >= leastVersion)
        .map(({ name, minVersion: least, maxVersion: most }) => ({
          name,
          minVersion: least,
          maxVersion: most,
        })),
      finalizedFeaturesEpoch: source.featureLevels?.epoch ?? 0,
      finalizedFeatures: features
        .filter((feature) => feature.level !== undefined && feature.level > 0)
        .map(({ name, level }) => ({ name, maxVersionLevel: level ?? 0, minVersionLevel: level ?? 0 })),
    };
  };
  const refusal = (errorCode: number): ApiVersionsResponseInput => ({ errorCode, apiKeys: [] });

  return defineHandler<ApiVersionsRequest, ApiVersionsResponseInput>({
    apiKey,
    minVersion,
    maxVersion,
    request: apiVersionsRequest,
    response: apiVersionsResponse,
    handle(request: ApiVersionsRequest, context: RequestContext) {
      if (context.apiVersion >= firstWithFeatures) {
        const { clientSoftwareName, clientSoftwareVersion } = request;
        if (!softwarePattern.test(clientSoftwareName) || !softwarePattern.test(clientSoftwareVersion)) {
          return refusal(errorCodes.INVALID_REQUEST);
        }
        context.connection.clientSoftwareName = clientSoftwareName;
        context.connection.clientSoftwareVersion = clientSoftwareVersion;
      }
      // Version 5 names both or neither; lower ones decode as neither.
      if (request.clusterId !== null && request.nodeId >= 0) {
        if (request.clusterId !== source.clusterId || request.nodeId !== source.nodeId) {
          return refusal(errorCodes.REBOOTSTRAP_REQUIRED);
        }
      } else if (request.clusterId !== null || request.nodeId >= 0)
        return refusal(errorCodes.INVALID_REQUEST);
      return answerWith(context.apiVersion < featuresFromZero ? 1 : 0);
    },
    fail: (_request, errorCode) => ({ errorCode, apiKeys: [{ apiKey, minVersion, maxVersion }] }),
  });
}
