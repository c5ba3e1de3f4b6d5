/** Metrics of half messages. */
import type { Collector } from './metrics.ts';

export interface HalfFigures {
  /** Undefined before they were counted. */
  readonly pending: number | undefined;
  readonly stored: number;
  readonly checks: number;
  readonly discarded: number;
  /** Decisions done, repeats too, by verdict. */
  readonly decisions: Readonly<Record<string, number>>;
  readonly callbacks: { readonly asked: number; readonly failed: number };
}

export function halfMetrics(read: () => HalfFigures): Collector {
  return (writer) => {
    const { pending, stored, checks, discarded, decisions, callbacks } = read();
    const single = (name: string, help: string, value: number) =>
      writer.single(`odradek_half_message${name}`, 'counter', help, value);
    if (pending !== undefined) {
      writer.single(
        'odradek_half_messages_pending',
        'gauge',
        'Half messages that nobody decided yet',
        pending,
      );
    }
    single('s_total', 'Half messages taken', stored);
    single('_checks_total', 'Checks that somebody could answer', checks);
    single('_discards_total', 'Half messages that ended in a discard topic', discarded);
    writer.family('odradek_half_message_decisions_total', 'counter', 'Decisions, repeats too');
    for (const [verdict, count] of Object.entries(decisions)) writer.sample(count, { verdict });
    single('_callbacks_total', 'Checks sent by HTTP', callbacks.asked);
    single('_callback_failures_total', 'Checks by HTTP that were not answered', callbacks.failed);
  };
}
