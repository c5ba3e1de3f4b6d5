/**
 * How answers get to a socket: one write a turn of the event loop for all the answers of a connection, small ones joined
 * in a buffer that all connections share, large ones passed on as they are. Knows nothing of requests.
 */
import type { Socket } from 'node:net';

/** Answers of a flush up to this many bytes together are joined. */
const joinedBytes = 64 * 1024;
/** Parts below this size are joined with their neighbours in a larger flush too. */
const smallPartBytes = 2 * 1024;

type Written = (error?: Error | null) => void;

/** Writes lists of buffers. One for the process: the joining buffer is free again as soon as the kernel has the bytes. */
export class AnswerWriter {
  private slab = Buffer.allocUnsafeSlow(joinedBytes);

  /**
   * Writes the parts in order, `written` called once when the kernel has them all or the socket has failed.
   * Returns true where the kernel took everything at once.
   */
  write(socket: Socket, parts: readonly Buffer[], sizeBytes: number, written: Written): boolean {
    if (parts.length === 1) {
      socket.write(parts[0]!, written);
      return socket.writableLength === 0;
    }
    if (sizeBytes <= joinedBytes) {
      const slab = this.slab;
      let at = 0;
      for (const part of parts) {
        slab.set(part, at);
        at += part.length;
      }
      socket.write(slab.subarray(0, at), written);
      if (socket.writableLength === 0) return true;
      // Still being sent from: it belongs to that write now.
      this.slab = Buffer.allocUnsafeSlow(joinedBytes);
      return false;
    }
    socket.cork();
    const list = joinSmallNeighbours(parts);
    const last = list.length - 1;
    for (let i = 0; i < last; i += 1) socket.write(list[i]!);
    socket.write(list[last]!, written);
    socket.uncork();
    return socket.writableLength === 0;
  }
}

function joinSmallNeighbours(parts: readonly Buffer[]): readonly Buffer[] {
  const joined: Buffer[] = [];
  let run: Buffer[] = [];
  for (const part of parts) {
    if (part.length < smallPartBytes) {
      run.push(part);
      continue;
    }
    if (run.length > 0) {
      joined.push(run.length === 1 ? run[0]! : Buffer.concat(run));
      run = [];
    }
    joined.push(part);
  }
  if (run.length > 0) joined.push(run.length === 1 ? run[0]! : Buffer.concat(run));
  return joined;
}

/** Whatever has answers to write by the end of this turn. */
export interface Flushable {
  flush(): void;
}

/** Calls `flush` of everything that asked for it, once, when what runs now has run. */
export class FlushTurn {
  private waiting: Flushable[] = [];
  private readonly run = (): void => {
    const turn = this.waiting;
    this.waiting = [];
    for (const each of turn) each.flush();
  };

  add(flushable: Flushable): void {
    if (this.waiting.push(flushable) === 1) process.nextTick(this.run);
  }
}
