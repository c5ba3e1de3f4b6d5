/**
 * ShareAcknowledge 1 and 2 (KIP-932).
 *
 * 2     renewals (KIP-1222), the lock's duration in the answer
 */
import {
  type ShareAcknowledgeRequest,
  type ShareAcknowledgeResponseInput,
  shareAcknowledgeRequest,
  shareAcknowledgeResponse,
} from '../../protocol/generated/79-share-acknowledge.ts';
import type { ShareFetches } from '../services/share/share-fetches.ts';
import { defineHandler } from './handler.ts';

export interface ShareAcknowledgeServices {
  readonly shareFetches: ShareFetches;
}

export function shareAcknowledgeHandler({ shareFetches }: ShareAcknowledgeServices) {
  return defineHandler<ShareAcknowledgeRequest, ShareAcknowledgeResponseInput>({
    apiKey: 79,
    minVersion: 1,
    maxVersion: 2,
    request: shareAcknowledgeRequest,
    response: shareAcknowledgeResponse,
    handle: (request, context) => shareFetches.acknowledge(request, context.apiVersion),
    fail: (_request, errorCode) => ({
      throttleTimeMs: 0,
      errorCode,
      acquisitionLockTimeoutMs: 0,
      responses: [],
      nodeEndpoints: [],
    }),
  });
}
