import type { Peer } from './peer.ts';

/** What is done to each of the two brokers; what they answer is compared step by step. */
export interface Scenario {
  readonly name: string;
  readonly run: (peer: Peer) => Promise<void>;
}
