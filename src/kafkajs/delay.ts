/** Later delivery, for messages that kafkajs sends. Knows nothing of a connection: it only writes headers. */
import type { Message } from 'kafkajs';
import {
  delayMsHeader,
  deliverAtMsHeader,
  messageIdHeader,
} from '../services/features/delay/delay-headers.ts';
import { withHeaders } from './headers.ts';

export type DelayOptions =
  /** So long after the broker takes the message. */
  | { readonly delayMs: number; readonly messageId?: string }
  /** At that time; milliseconds since 1970, or a Date. */
  | { readonly deliverAt: number | Date; readonly messageId?: string };

/**
 * The message, to be delivered later. Its topic must have rmq.message.type DELAY or MIXED. With a `messageId` it can be cancelled,
 * moved and delivered at once. Throws a RangeError on what is no time.
 */
export function delay(message: Message, options: DelayOptions): Message {
  const [name, value] =
    'delayMs' in options
      ? ([delayMsHeader, options.delayMs] as const)
      : ([deliverAtMsHeader, Number(options.deliverAt)] as const);
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`${name} must be a whole number of milliseconds, not ${value}`);
  }
  return withHeaders(message, {
    [name]: String(value),
    ...(options.messageId === undefined ? {} : { [messageIdHeader]: options.messageId }),
  });
}
