/** AlterShareGroupOffsets 0 (KIP-932): where a share group without members starts. */
import {
  type AlterShareGroupOffsetsRequest,
  type AlterShareGroupOffsetsResponseInput,
  alterShareGroupOffsetsRequest,
  alterShareGroupOffsetsResponse,
} from '../../protocol/generated/91-alter-share-group-offsets.ts';
import type { ShareOffsetServices } from './90-describe-share-group-offsets.ts';
import { defineHandler } from './handler.ts';

export function alterShareGroupOffsetsHandler({ shareOffsets }: ShareOffsetServices) {
  return defineHandler<AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponseInput>({
    apiKey: 91,
    minVersion: 0,
    maxVersion: 0,
    request: alterShareGroupOffsetsRequest,
    response: alterShareGroupOffsetsResponse,
    handle: (request) => shareOffsets.alter(request),
    fail: (_request, errorCode) => ({ throttleTimeMs: 0, errorCode, responses: [] }),
  });
}
