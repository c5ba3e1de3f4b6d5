/** Headers of messages, as kafkajs gives and takes them. */
import type { IHeaders, Message } from 'kafkajs';

export function withHeaders(message: Message, headers: Readonly<Record<string, string>>): Message {
  return { ...message, headers: { ...message.headers, ...headers } };
}

/** The header as text; undefined where there is none. Of several the first. */
export function headerText(headers: IHeaders | undefined, name: string): string | undefined {
  const value = headers?.[name];
  const first = Array.isArray(value) ? value[0] : value;
  return first?.toString();
}
