/** DeleteShareGroupOffsets 0 (KIP-932): a share group without members forgets topics. */
import {
  type DeleteShareGroupOffsetsRequest,
  type DeleteShareGroupOffsetsResponseInput,
  deleteShareGroupOffsetsRequest,
  deleteShareGroupOffsetsResponse,
} from '../../protocol/generated/92-delete-share-group-offsets.ts';
import type { ShareOffsetServices } from './90-describe-share-group-offsets.ts';
import { defineHandler } from './handler.ts';

export function deleteShareGroupOffsetsHandler({ shareOffsets }: ShareOffsetServices) {
  return defineHandler<DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponseInput>({
    apiKey: 92,
    minVersion: 0,
    maxVersion: 0,
    request: deleteShareGroupOffsetsRequest,
    response: deleteShareGroupOffsetsResponse,
    handle: (request) => shareOffsets.delete(request),
    fail: (_request, errorCode) => ({ throttleTimeMs: 0, errorCode, responses: [] }),
  });
}
