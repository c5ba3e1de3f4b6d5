/** What headers say of records that failed: asked by consumers, and told by the broker on retries and dead letters. Pure. */

/** Asked: which record failed, as <topic>/<partition>/<offset>; told: where it came from at first. */
export const originHeader = 'rmq-origin';
/** Asked: the delay of this retry, in place of the group's schedule. */
export const retryDelayHeader = 'rmq-retry-delay-ms';
/** Asked: retry (the default), or dlq for none. */
export const retryActionHeader = 'rmq-retry-action';
/** Asked and told: what went wrong, text. */
export const errorHeader = 'rmq-error';
/** Told: how often the record has failed for this group. */
export const timesHeader = 'rmq-reconsume-times';
export const maxTimesHeader = 'rmq-max-reconsume-times';
/** Told: the topic in which it failed first. */
export const retryTopicHeader = 'rmq-retry-topic';
export const originMessageIdHeader = 'rmq-origin-message-id';
/** Told: the record's own timestamp. */
export const bornMsHeader = 'rmq-born-ms';
/** Told on dead letters: why the broker gave up, one of a closed list, and when. */
export const deadLetterReasonHeader = 'rmq-dlq-reason';
export const deadLetterMsHeader = 'rmq-dlq-ms';
/** Told on what was sent on from a dead-letter topic: how often that was done. */
export const redriveTimesHeader = 'rmq-redrive-times';

/** KIP-1191's, on dead letters. */
export const kafkaDeadLetterHeaders = {
  topic: '__dlq.errors.topic',
  partition: '__dlq.errors.partition',
  offset: '__dlq.errors.offset',
  group: '__dlq.errors.group',
  deliveryCount: '__dlq.errors.delivery.count',
  message: '__dlq.errors.message',
} as const;

/** Said anew each time, never twice: a record that fails often does not grow. */
const spoken: ReadonlySet<string> = new Set<string>([
  originHeader,
  retryDelayHeader,
  retryActionHeader,
  errorHeader,
  timesHeader,
  maxTimesHeader,
  retryTopicHeader,
  originMessageIdHeader,
  bornMsHeader,
  deadLetterReasonHeader,
  deadLetterMsHeader,
  redriveTimesHeader,
  ...Object.values(kafkaDeadLetterHeaders),
]);

const longestName = Math.max(...[...spoken].map((name) => name.length));

/** The header is one of those above: not the application's own. */
export function isRetryHeader(key: Buffer): boolean {
  // r or _
  if (key.length < 9 || key.length > longestName || (key[0] !== 0x72 && key[0] !== 0x5f)) return false;
  return spoken.has(key.toString('latin1'));
}

/** Bytes of an error's text that are kept. */
export const longestErrorBytes = 4_096;

/** The text as a header's value, cut to `longestErrorBytes` between characters. */
export function errorValue(text: string | Buffer): Buffer {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  if (bytes.length <= longestErrorBytes) return Buffer.from(bytes);
  let end = longestErrorBytes;
  while (end > longestErrorBytes - 4 && (bytes[end]! & 0xc0) === 0x80) end -= 1;
  return Buffer.from(bytes.subarray(0, end));
}

export interface RecordPlace {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

export function placeText({ topic, partition, offset }: RecordPlace): string {
  return `${topic}/${partition}/${offset}`;
}

const placeForm = /^([a-zA-Z0-9._-]{1,249})\/([0-9]{1,10})\/([0-9]{1,16})$/;

/** Undefined where it is no <topic>/<partition>/<offset>. */
export function readPlace(value: Buffer | null): RecordPlace | undefined {
  const parts = value === null || value.length > 300 ? null : placeForm.exec(value.toString('latin1'));
  if (parts === null) return undefined;
  const offset = Number(parts[3]);
  if (!Number.isSafeInteger(offset)) return undefined;
  return { topic: parts[1]!, partition: Number(parts[2]), offset };
}
