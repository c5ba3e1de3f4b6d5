// What the table of all APIs (generated/apis.ts) says of one API.
import type { MessageCodec } from './message-codec.ts';

export interface ApiDefinition {
  readonly apiKey: number;
  /** As Kafka calls it: 'Produce'. */
  readonly name: string;
  readonly request: MessageCodec<unknown, unknown>;
  readonly response: MessageCodec<unknown, unknown>;
  readonly minVersion: number;
  /** The highest stable version. */
  readonly maxVersion: number;
  /** The highest version the codec knows; above maxVersion where the last ones are not stable yet. */
  readonly maxUnstableVersion: number;
  /** The first flexible version; NEVER_FLEXIBLE for none. */
  readonly flexibleFrom: number;
}
