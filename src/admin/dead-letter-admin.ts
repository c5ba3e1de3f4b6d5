/** What the HTTP side may ask about dead letters. Knows nothing of HTTP. */

export interface DeadLetterView {
  readonly partition: number;
  readonly offset: number;
  readonly reason: string;
  readonly at: string | null;
  /** Where it failed first, and where it lies there. */
  readonly topic: string | null;
  readonly origin: string | null;
  readonly deliveryCount: number | null;
  readonly redriveTimes: number;
  readonly error: string | null;
  /** UTF-8 where the bytes are text, else base64 with that prefix; cut where long. */
  readonly key: string | null;
  readonly value: string | null;
  /** False where only headers were kept. */
  readonly isWhole: boolean;
}

export interface DeadLetterPage {
  readonly topic: string;
  readonly letters: readonly DeadLetterView[];
  readonly next: string | null;
}

/** Times in milliseconds since 1970. */
export interface DeadLetterFilter {
  readonly reason?: string | undefined;
  readonly topic?: string | undefined;
  readonly error?: string | undefined;
  readonly fromMs?: number | undefined;
  readonly untilMs?: number | undefined;
}

export interface RedriveAsked {
  readonly group: string;
  /** origin, retry, or topic:NAME. */
  readonly to: string;
  readonly filter: DeadLetterFilter;
  readonly only?: { readonly partition: number; readonly offset: number };
  readonly rate?: number;
  readonly maxRedrives?: number;
}

export interface RedriveView {
  readonly id: string;
  readonly group: string;
  readonly from: string;
  readonly to: string;
  readonly state: 'running' | 'stopped' | 'done';
  readonly created: string;
  readonly ended: string | null;
  readonly sent: number;
  readonly skipped: Readonly<Record<string, number>>;
  /** Letters that are not looked at yet. */
  readonly left: number;
}

export interface RedrivePreview {
  readonly sent: number;
  readonly skipped: Readonly<Record<string, number>>;
  readonly targets: Readonly<Record<string, number>>;
  readonly isPartial: boolean;
}

/** Texts say why not. */
export interface DeadLetterAdmin {
  list(
    group: string,
    filter: DeadLetterFilter,
    limit: number,
    next: string | undefined,
  ): Promise<DeadLetterPage | string>;
  preview(asked: RedriveAsked): Promise<RedrivePreview | string>;
  begin(asked: RedriveAsked): Promise<RedriveView | string>;
  jobs(): Promise<readonly RedriveView[]>;
  job(id: string): Promise<RedriveView | undefined>;
  /** Undefined: there is no such job that is not done. */
  setState(id: string, state: 'running' | 'stopped'): Promise<RedriveView | undefined>;
}
