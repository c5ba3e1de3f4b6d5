/** DescribeShareGroupOffsets 0 and 1 (KIP-932); 1 adds the lag (KIP-1226). */
import {
  type DescribeShareGroupOffsetsRequest,
  type DescribeShareGroupOffsetsResponseInput,
  describeShareGroupOffsetsRequest,
  describeShareGroupOffsetsResponse,
} from '../../protocol/generated/90-describe-share-group-offsets.ts';
import type { ShareOffsets } from '../services/share/share-offsets.ts';
import { defineHandler } from './handler.ts';

export interface ShareOffsetServices {
  readonly shareOffsets: ShareOffsets;
}

export function describeShareGroupOffsetsHandler({ shareOffsets }: ShareOffsetServices) {
  return defineHandler<DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponseInput>({
    apiKey: 90,
    minVersion: 0,
    maxVersion: 1,
    request: describeShareGroupOffsetsRequest,
    response: describeShareGroupOffsetsResponse,
    async handle({ groups }) {
      return {
        throttleTimeMs: 0,
        groups: await Promise.all(groups.map((group) => shareOffsets.describe(group))),
      };
    },
    fail: ({ groups }, errorCode) => ({
      throttleTimeMs: 0,
      groups: groups.map(({ groupId }) => ({ groupId, topics: [], errorCode })),
    }),
  });
}
