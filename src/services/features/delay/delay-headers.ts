/** What a record's headers say of when it shall be delivered. Pure. */

export const delayLevelHeader = 'rmq-delay-level';
export const delayMsHeader = 'rmq-delay-ms';
export const deliverAtMsHeader = 'rmq-deliver-at-ms';

/** Given by the producer, unique in the topic: by it a delayed record can be cancelled and moved. Stays on the record. */
export const messageIdHeader = 'rmq-message-id';
/** What delivered records carry: when they were due, and when the broker took them. */
export const dueMsHeader = 'rmq-due-ms';
export const storedMsHeader = 'rmq-stored-ms';

/** RocketMQ's eighteen delay levels, in milliseconds; level 1 is the first. */
export const delayLevelsMs: readonly number[] = [
  1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000, 480_000,
  540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];

/** Bytes of a message id. */
export const longestMessageId = 255;

export interface DelayRules {
  readonly nowMs: number;
  /** rmq.delay.max.ms */
  readonly maxDelayMs: number;
}

/** The headers that matter here, as they stand on a record; undefined where there is none. */
export interface DelayHeaders {
  readonly level?: Buffer | null;
  readonly delayMs?: Buffer | null;
  readonly deliverAtMs?: Buffer | null;
}

/** When to deliver (a time that has passed: now), or why not (for the client). */
export type DueTime = { readonly dueMs: number } | { readonly fault: string };

const wholeNumber = /^[0-9]+$/;

/**
 * The due time that headers ask for. All are read, so that none is wrong unnoticed; the level counts before the delay, the delay
 * before the time (RocketMQ's order).
 */
export function dueTimeOf(headers: DelayHeaders, rules: DelayRules): DueTime {
  const { nowMs } = rules;
  const asked: number[] = [];
  if (headers.level !== undefined) {
    const level = numberOf(headers.level);
    if (level === undefined || level < 1) {
      return fault(
        delayLevelHeader,
        headers.level,
        `a level from 1 to ${delayLevelsMs.length} in decimal digits`,
      );
    }
    asked.push(nowMs + delayLevelsMs[Math.min(level, delayLevelsMs.length) - 1]!);
  }
  if (headers.delayMs !== undefined) {
    const delayMs = numberOf(headers.delayMs);
    if (delayMs === undefined) return fault(delayMsHeader, headers.delayMs, 'milliseconds in decimal digits');
    asked.push(nowMs + delayMs);
  }
  if (headers.deliverAtMs !== undefined) {
    const dueMs = numberOf(headers.deliverAtMs);
    if (dueMs === undefined) {
      return fault(deliverAtMsHeader, headers.deliverAtMs, 'milliseconds since 1970 in decimal digits');
    }
    asked.push(dueMs);
  }
  return withinLimit(asked[0]!, rules);
}

/** The time, unless it lies beyond rmq.delay.max.ms. */
export function withinLimit(dueMs: number, { nowMs, maxDelayMs }: DelayRules): DueTime {
  if (dueMs - nowMs > maxDelayMs) {
    return { fault: `The delay of ${dueMs - nowMs} ms is longer than rmq.delay.max.ms=${maxDelayMs}` };
  }
  return { dueMs: Math.max(dueMs, nowMs) };
}

/** Digits only: no sign, no blanks, no exponent. What no safe integer holds is Infinity. */
function numberOf(value: Buffer | null): number | undefined {
  if (value === null || value.length === 0 || value.length > 40) return undefined;
  const text = value.toString('latin1');
  if (!wholeNumber.test(text)) return undefined;
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : Number.POSITIVE_INFINITY;
}

function fault(name: string, value: Buffer | null, wanted: string): DueTime {
  return { fault: `Header ${name} must be ${wanted}, not ${shown(value)}` };
}

/** A header's value in a message: short, and nothing that a log or terminal would act on. */
export function shown(value: Buffer | null): string {
  if (value === null) return 'null';
  const text = value
    .subarray(0, 40)
    .toString('latin1')
    .replace(/[^\x20-\x7e]/g, '?');
  return `'${text}'${value.length > 40 ? '...' : ''}`;
}
