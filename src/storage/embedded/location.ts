/** A place in the log as one safe integer: segment number x 2^32 + offset in the segment's file. Grows along the log. */
export const segmentSpan = 2 ** 32;
const inverseSpan = 2 ** -32;

/** Segments are numbered below this, so that every location is a safe integer. */
export const segmentNumberLimit = 2 ** 21;

/**
 * The cleaner's segments are numbered from here up, those of the head below: a cleaned segment never stands in the way of the log,
 * and recovery, which reads the head only, does not see it. The head's numbers are used once and get seven parts in eight; the
 * cleaner's come round again, since it removes what it replaces.
 */
export const firstCleanedSegment = segmentNumberLimit - 2 ** 18;

export function isCleanedSegment(segment: number): boolean {
  return segment >= firstCleanedSegment;
}

export function locationOf(segment: number, offset: number): number {
  return segment * segmentSpan + offset;
}

export function segmentOf(location: number): number {
  return Math.floor(location * inverseSpan);
}

export function offsetIn(location: number): number {
  return location - Math.floor(location * inverseSpan) * segmentSpan;
}

/** For messages: where an operator finds the byte. */
export function describeLocation(location: number): string {
  return `${segmentFileName(segmentOf(location))} byte ${offsetIn(location)}`;
}

export function segmentFileName(segment: number): string {
  return `${String(segment).padStart(10, '0')}.log`;
}

/** The segment's number, or undefined for any other name. */
export function segmentOfFileName(name: string): number | undefined {
  const match = /^(\d{10})\.log$/.exec(name);
  return match === null ? undefined : Number(match[1]);
}
