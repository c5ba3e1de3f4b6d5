/**
 * Knows when every look-up that began before a moment has ended, so that files which only such a look-up can still ask for may go.
 * Costs a counter a read.
 */
export class ReadGeneration {
  reads = 0;
  isOver = false;
  ended: (() => void) | undefined;
}

export class ReadsInFlight {
  private current = new ReadGeneration();
  private before: Promise<void> = Promise.resolve();

  /** Before the index is asked; answer it to `leave`. */
  enter(): ReadGeneration {
    this.current.reads++;
    return this.current;
  }

  /** When nothing of what the index said is needed any more. */
  leave(generation: ReadGeneration): void {
    generation.reads--;
    if (generation.isOver && generation.reads === 0) generation.ended?.();
  }

  async during<T>(action: () => Promise<T>): Promise<T> {
    const generation = this.enter();
    try {
      return await action();
    } finally {
      this.leave(generation);
    }
  }

  /** Resolves when all that entered before the call have left. */
  drained(): Promise<void> {
    const generation = this.current;
    this.current = new ReadGeneration();
    generation.isOver = true;
    const ended =
      generation.reads === 0
        ? Promise.resolve()
        : new Promise<void>((resolve) => {
            generation.ended = resolve;
          });
    this.before = Promise.all([this.before, ended]).then(() => {});
    return this.before;
  }
}
