/** The waits of each connection, ended together when it is gone: one listener a connection, not one a wait. */

export interface EndableWait {
  endNow(): void;
}

export class WaitsByConnection {
  private readonly ofSignal = new WeakMap<AbortSignal, Set<EndableWait>>();

  /** Answers false where the connection is gone already. */
  add(closed: AbortSignal, wait: EndableWait): boolean {
    if (closed.aborted) return false;
    let waits = this.ofSignal.get(closed);
    if (waits === undefined) {
      const created = new Set<EndableWait>();
      waits = created;
      this.ofSignal.set(closed, created);
      closed.addEventListener(
        'abort',
        () => {
          for (const one of [...created]) one.endNow();
        },
        { once: true },
      );
    }
    waits.add(wait);
    return true;
  }

  remove(closed: AbortSignal, wait: EndableWait): void {
    this.ofSignal.get(closed)?.delete(wait);
  }
}
