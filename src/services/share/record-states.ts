/** The states of a record in a share partition and what clients say of one, by Kafka's numbers (KIP-932). */

export type RecordState = 'available' | 'acquired' | 'acknowledged' | 'archived';

/** As ShareSnapshot and ShareUpdate name them. 1 (acquired) is never written: who holds a record is known in memory only. */
export const deliveryStates = { available: 0, acknowledged: 2, archived: 4 } as const;

export type LastingState = keyof typeof deliveryStates;

export const acknowledgeTypes = { gap: 0, accept: 1, release: 2, reject: 3, renew: 4 } as const;

/** What is written of a run of records. */
export interface StateBatch {
  readonly firstOffset: number;
  readonly lastOffset: number;
  readonly state: LastingState;
  readonly deliveryCount: number;
}

/** Undefined for a number that stands for no state that is written. 3 (archiving) is on its way to 4. */
export function lastingStateOf(deliveryState: number): LastingState | undefined {
  switch (deliveryState) {
    case 0:
      return 'available';
    case 2:
      return 'acknowledged';
    case 3:
    case 4:
      return 'archived';
    default:
      return undefined;
  }
}

/** Nothing more will become of a record in this state. */
export function isOver(state: RecordState): boolean {
  return state === 'acknowledged' || state === 'archived';
}
