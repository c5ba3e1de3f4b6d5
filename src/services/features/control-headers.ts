/**
 * The closed list of record headers that ask the broker for something, and on which types of topic each may stand. They are
 * consumed at ingress; every other header is the producer's own.
 */

/** rmq.message.type: what records of a topic may ask for. */
export const messageTypes = ['NORMAL', 'FIFO', 'DELAY', 'TRANSACTION', 'MIXED'] as const;
export type MessageType = (typeof messageTypes)[number];

export const messageTypeKey = 'rmq.message.type';

type ControlHeaderFeature = 'delay' | 'half-message' | 'retry';

const features: ReadonlyMap<string, ControlHeaderFeature> = new Map([
  ['rmq-delay-level', 'delay'],
  ['rmq-delay-ms', 'delay'],
  ['rmq-deliver-at-ms', 'delay'],
  ['rmq-txn', 'half-message'],
  ['rmq-txn-id', 'half-message'],
  ['rmq-producer-group', 'half-message'],
  ['rmq-txn-immunity-ms', 'half-message'],
  ['rmq-retry-action', 'retry'],
  ['rmq-retry-delay-ms', 'retry'],
]);

/** What the header asks for; undefined for one that is no control header. */
export function controlHeaderFeature(name: string): ControlHeaderFeature | undefined {
  return features.get(name);
}

const takenBy: Readonly<Record<ControlHeaderFeature, readonly MessageType[]>> = {
  delay: ['DELAY', 'MIXED'],
  'half-message': ['TRANSACTION', 'MIXED'],
  // On retry topics alone, which are told by rmq.role.
  retry: [],
};

export function takesControlHeader(type: MessageType, feature: ControlHeaderFeature): boolean {
  return takenBy[feature].includes(type);
}

/** Why a record with this header is refused on a topic of this type. Names the setting. */
export function refusedControlHeader(name: string, feature: ControlHeaderFeature, type: MessageType): string {
  if (feature === 'retry') {
    return `Header ${name} asks for what only the retry topic of a group does; rmq.role must be retry (rmq.retry.enable of the group)`;
  }
  return `Header ${name} asks for what topics with ${messageTypeKey}=${type} do not do; ${messageTypeKey} must be ${takenBy[feature].join(' or ')}`;
}

/** The longest control header has 19 bytes. */
export const longestControlHeaderBytes = Math.max(...[...features.keys()].map((name) => name.length));

// All control headers start with `rmq-`. `q-` is searched for, not the whole prefix: the search looks for the first byte, and q is rare in
// text as in other bytes.
const rarePart = Buffer.from('q-');

/**
 * Whether a control header's name may stand in these bytes, from `start` to `end`: exact about the prefix, so that hits are rare where
 * there is none. Costs one look at the bytes.
 */
export function mayHoldControlHeader(bytes: Buffer, start: number, end: number): boolean {
  for (
    let at = bytes.indexOf(rarePart, start + 2);
    at >= 0 && at < end;
    at = bytes.indexOf(rarePart, at + 2)
  ) {
    if (bytes[at - 1] !== 0x6d || bytes[at - 2] !== 0x72) continue;
    const next = bytes[at + 2];
    // d, p, t: rmq-de..., rmq-producer-group, rmq-txn...
    if (next === 0x64 || next === 0x70 || next === 0x74) return true;
    // rmq-ret...
    if (next === 0x72 && bytes[at + 4] === 0x74) return true;
  }
  return false;
}
