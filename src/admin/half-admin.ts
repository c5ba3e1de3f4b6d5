/** What the HTTP side may ask about half messages and the settings of groups. Knows nothing of HTTP. */

export interface HalfMessage {
  readonly producerGroup: string;
  /** UTF-8. */
  readonly txnId: string;
  readonly state: 'pending' | 'committed' | 'rolled-back' | 'discarded';
  /** Of pending ones, as the next four; null where the topic is gone. */
  readonly topic: string | null;
  readonly partition: number | null;
  readonly born: string | null;
  readonly checks: number | null;
  readonly nextCheck: string | null;
  /** Of those that ended. */
  readonly ended: string | null;
}

export interface HalfMessages {
  readonly messages: readonly HalfMessage[];
  /** Asks for the next page; null where there is no more. A page with `next` may be short, or empty. */
  readonly next: string | null;
}

export type HalfAnswer =
  | { readonly outcome: 'done' }
  | {
      readonly outcome: 'refused';
      readonly reason: 'not-found' | 'conflict' | 'invalid';
      readonly message: string;
    }
  | { readonly outcome: 'failed' };

export type HalfRedriven =
  | { readonly outcome: 'sent'; readonly topic: string; readonly partition: number; readonly offset: number }
  | { readonly outcome: 'refused'; readonly message: string };

export interface HalfAdmin {
  /** Undefined: `next` is none of ours. */
  list(
    producerGroup: string | undefined,
    range: { readonly limit: number; readonly next?: string; readonly pendingOnly: boolean },
  ): Promise<HalfMessages | undefined>;
  decide(producerGroup: string, txnId: string, verdict: 'commit' | 'rollback'): Promise<HalfAnswer>;
  /** Of a record of the group's discard topic. */
  redrive(producerGroup: string, partition: number, offset: number): Promise<HalfRedriven>;
}

export interface GroupSetting {
  readonly name: string;
  readonly value: string | null;
  /** Set by the group itself. */
  readonly isOwn: boolean;
}

export interface GroupSettingsAdmin {
  list(group: string): readonly GroupSetting[];
  /** Null takes what the group said back. Resolves with why not, undefined when done. `replaces`: what is not named is taken back too. */
  change(
    group: string,
    values: ReadonlyMap<string, string | null>,
    replaces: boolean,
  ): Promise<string | undefined>;
}
