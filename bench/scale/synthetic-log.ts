/** A log that is thought only: one-record batches over all queues in turn. */
import { locationOf } from '../../src/storage/embedded/location.ts';
import { defaultEmbeddedSettings } from '../../src/storage/embedded/settings.ts';

/** A batch of one record of 50 bytes, with the entry's header. */
export const entryBytes = 232;
export const firstTimeMs = 1_700_000_000_000;
export const entriesAMs = 50;
export const entriesASegment = Math.floor(defaultEmbeddedSettings.segmentBytes / entryBytes);

/** Entry `number` of the log: its queue is number modulo the queues. */
export function locationOfEntry(number: number): number {
  return locationOf(Math.floor(number / entriesASegment), (number % entriesASegment) * entryBytes);
}
