/** What the HTTP side may ask about delayed records and of the clock. Knows nothing of HTTP. */

export interface DelayedMessage {
  readonly topic: string;
  readonly partition: number;
  /** UTF-8; null for records that came without. */
  readonly messageId: string | null;
  readonly due: string;
  readonly dueMs: number;
  readonly stored: string;
  readonly records: number;
  readonly bytes: number;
}

export interface DelayedMessages {
  readonly messages: readonly DelayedMessage[];
  /** Asks for the next page; null where there is no more. A page with `next` may be short, or empty. */
  readonly next: string | null;
}

export type DelayedAction =
  | { readonly action: 'cancel' | 'deliver' }
  | { readonly action: 'reschedule'; readonly dueMs: number }
  | { readonly action: 'reschedule'; readonly delayMs: number };

export type DelayedAnswer =
  | { readonly outcome: 'done' }
  | {
      readonly outcome: 'refused';
      readonly reason: 'not-found' | 'already-delivered' | 'already-cancelled' | 'invalid' | 'unknown-topic';
      readonly message: string;
    }
  | { readonly outcome: 'failed' };

export interface DelayAdmin {
  /** Undefined: `next` is none of ours. */
  list(
    topic: string | undefined,
    range: {
      readonly fromMs?: number;
      readonly untilMs?: number;
      readonly limit: number;
      readonly next?: string;
    },
  ): Promise<DelayedMessages | 'unknown-topic' | undefined>;
  act(topic: string, messageId: string, action: DelayedAction): Promise<DelayedAnswer>;
}

export interface ClockAdmin {
  readonly nowMs: number;
  /** Ahead of the machine's clock. */
  readonly shiftMs: number;
  /** Resolves when what was due by then has fired. */
  advance(byMs: number): Promise<void>;
}
