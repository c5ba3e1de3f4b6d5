/** Lets groups that must first be prepared (links fetched, rows read) be fixed in the order in which they were given, by name. */

export interface Turn {
  /** Resolves when those before are fixed or given up; undefined where there are none. */
  readonly before: Promise<void> | undefined;
  /** May be called again. */
  done(): void;
}

export class GroupSequences {
  /** The newest group of each name that has one under way. */
  private readonly last = new Map<string, Promise<void>>();

  take(name: string): Turn {
    const before = this.last.get(name);
    let resolve = () => {};
    const own = new Promise<void>((done) => {
      resolve = done;
    });
    // Given up, a group still lets nobody pass those before it.
    const mine = before === undefined ? own : before.then(() => own);
    this.last.set(name, mine);
    return {
      before,
      done: () => {
        resolve();
        void mine.then(() => {
          if (this.last.get(name) === mine) this.last.delete(name);
        });
      },
    };
  }
}
