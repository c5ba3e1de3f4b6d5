/** Headers of messages, as kafkajs gives and takes them. */
import type { Message } from 'kafkajs';

export function withHeaders(message: Message, headers: Readonly<Record<string, string>>): Message {
  return { ...message, headers: { ...message.headers, ...headers } };
}
