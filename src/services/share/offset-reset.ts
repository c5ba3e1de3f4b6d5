/** share.auto.offset.reset as text and as a value. Pure. */

/** Where a share partition starts that has no start offset yet. */
export type OffsetReset =
  | { readonly kind: 'earliest' }
  | { readonly kind: 'latest' }
  | { readonly kind: 'by-duration'; readonly durationMs: number };

/** Undefined for a text that is none of `earliest`, `latest`, `by_duration:<ISO 8601 duration>`. */
export function parseOffsetReset(text: string): OffsetReset | undefined {
  const lower = text.toLowerCase();
  if (lower === 'earliest' || lower === 'latest') return { kind: lower };
  const prefix = 'by_duration:';
  if (!lower.startsWith(prefix)) return undefined;
  const durationMs = parseIsoDuration(text.slice(prefix.length));
  return durationMs === undefined || durationMs < 0 ? undefined : { kind: 'by-duration', durationMs };
}

const durationPattern =
  /^([-+]?)P(?:([-+]?\d+)D)?(?:T(?=[-+\d])(?:([-+]?\d+)H)?(?:([-+]?\d+)M)?(?:([-+]?\d+)(?:[.,](\d{0,9}))?S)?)?$/i;

/** Milliseconds of a duration as java.time.Duration reads it; undefined for what it refuses. */
export function parseIsoDuration(text: string): number | undefined {
  const match = durationPattern.exec(text);
  if (match === null) return undefined;
  const [, sign, days, hours, minutes, seconds, fraction] = match;
  if (days === undefined && hours === undefined && minutes === undefined && seconds === undefined) {
    return undefined;
  }
  const wholeSeconds = Number(seconds ?? 0);
  const part = Number(`0.${fraction === undefined || fraction === '' ? '0' : fraction}`);
  const ms =
    Number(days ?? 0) * 86_400_000 +
    Number(hours ?? 0) * 3_600_000 +
    Number(minutes ?? 0) * 60_000 +
    wholeSeconds * 1000 +
    (seconds?.startsWith('-') ? -1 : 1) * Math.floor(part * 1000);
  return sign === '-' ? -ms : ms;
}
