/**
 * What several coordinators, and others, append as one group: kept whole or not at all, and fixed in one place of the log. The end
 * of a transaction is one: what its own coordinator says of it, the offsets in its groups' coordinators, markers in its partitions.
 */
import type {
  AppendEntry,
  AppendResult,
  Fence,
  IndexChange,
  RefusalReason,
  StorageEngine,
} from '../../storage/engine.ts';

/** What one coordinator adds. One of the two is called, once. */
export interface ClosedGroup {
  readonly entries: readonly AppendEntry[];
  readonly fence: Fence;
  /** What became of `entries`, in their order. */
  settled(results: readonly AppendResult[]): void;
  lost(reason: RefusalReason | 'unknown', error: unknown): void;
}

/**
 * Appends `entries`, then those of the coordinators, as one durable group. Resolves with what became of `entries`, before the
 * coordinators answer anybody. Rejects never: what nobody knows is `unknown`.
 */
export function appendTogether(
  engine: StorageEngine,
  entries: readonly AppendEntry[],
  changes: readonly IndexChange[],
  groups: readonly ClosedGroup[],
  done: (results: readonly AppendResult[], isAppended: boolean) => void,
): void {
  const all = [...entries, ...groups.flatMap((group) => group.entries)];
  engine
    .append({ durability: 'sync', entries: all, changes, fences: groups.map((group) => group.fence) })
    .then(
      (results) => {
        const isAppended = results.every(({ outcome }) => outcome === 'appended');
        done(results.slice(0, entries.length), isAppended);
        const refused = results.find((result) => result.outcome === 'refused');
        let from = entries.length;
        for (const group of groups) {
          const own = results.slice(from, from + group.entries.length);
          from += own.length;
          // Refused for another's sake: this coordinator's own place is as good as before.
          if (refused !== undefined && own.every((result) => result.outcome === 'not-appended')) {
            group.lost('condition-failed', undefined);
          } else group.settled(own);
        }
      },
      (error: unknown) => {
        done(
          entries.map(() => ({ outcome: 'unknown' })),
          false,
        );
        for (const group of groups) group.lost('unknown', error);
      },
    );
}
