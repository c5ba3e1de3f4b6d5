/**
 * ShareFetch 1 and 2 (KIP-932).
 *
 * 2     acquire mode (KIP-1206), renewals (KIP-1222)
 */
import {
  type ShareFetchRequest,
  type ShareFetchResponseInput,
  shareFetchRequest,
  shareFetchResponse,
} from '../../protocol/generated/78-share-fetch.ts';
import type { ShareFetches } from '../services/share/share-fetches.ts';
import { defineHandler } from './handler.ts';

export interface ShareFetchServices {
  readonly shareFetches: ShareFetches;
}

export function shareFetchHandler({ shareFetches }: ShareFetchServices) {
  return defineHandler<ShareFetchRequest, ShareFetchResponseInput>({
    apiKey: 78,
    minVersion: 1,
    maxVersion: 2,
    request: shareFetchRequest,
    response: shareFetchResponse,
    async handle(request, context) {
      const { response, release } = await shareFetches.fetch(request, context.connection, context.apiVersion);
      if (release !== undefined) context.afterSent(release);
      return response;
    },
    fail: (_request, errorCode) => ({
      throttleTimeMs: 0,
      errorCode,
      acquisitionLockTimeoutMs: 0,
      responses: [],
      nodeEndpoints: [],
    }),
  });
}
