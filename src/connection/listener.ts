/**
 * One configured address that connections are accepted on; `localhost` is both 127.0.0.1 and ::1. Knows nothing of what
 * comes over a connection.
 */
import { createServer, type Server, type Socket } from 'node:net';

/** Where to listen, as configured. */
export interface ListenAddress {
  readonly name: string;
  readonly securityProtocol: string;
  /** Empty for every interface; localhost for both loopback addresses. */
  readonly host: string;
  /** 0 for a free one. */
  readonly port: number;
}

/** An address could not be listened on. The message is for the operator. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
}

export class Listener {
  readonly address: ListenAddress;
  private readonly servers: Server[] = [];
  private boundPort = 0;
  /** How to listen again, for each address that was listened on. */
  private again: (() => Promise<Server>)[] = [];

  constructor(address: ListenAddress) {
    this.address = address;
  }

  /** The port that is really listened on. */
  get port(): number {
    return this.boundPort;
  }

  /**
   * Starts to accept. `accepted` gets sockets that are not read from yet, `failed` what the system refuses while accepting
   * (out of file descriptors). Throws ListenError.
   */
  async open(
    backlog: number,
    accepted: (socket: Socket) => void,
    failed: (error: Error) => void,
  ): Promise<void> {
    const { host, port } = this.address;
    const hosts = host === 'localhost' ? ['127.0.0.1', '::1'] : [host];
    this.boundPort = port;
    for (const each of hosts) {
      const begin = async (): Promise<Server> => {
        const server = createServer({ noDelay: true, keepAlive: true, pauseOnConnect: true });
        await listen(server, each, this.boundPort, backlog);
        server.on('connection', accepted);
        server.on('error', failed);
        return server;
      };
      let server: Server;
      try {
        server = await begin();
      } catch (error) {
        if (each === '::1' && (isMissingAddressFamily(error) || (port === 0 && isTaken(error)))) continue;
        await this.close();
        throw new ListenError(describe(error as NodeJS.ErrnoException, this.address));
      }
      this.servers.push(server);
      this.again.push(begin);
      const bound = server.address();
      if (bound !== null && typeof bound === 'object') this.boundPort = bound.port;
    }
  }

  /**
   * Accepts nothing until `resume`. Node accepts whatever arrives on a listening socket, so it is closed: clients are refused by the
   * system, at no cost to the broker, and try again.
   */
  pause(): void {
    for (const server of this.servers) server.close();
    this.servers.length = 0;
  }

  /** Rejects where the address is taken meanwhile. */
  async resume(): Promise<void> {
    if (this.servers.length > 0) return;
    for (const begin of this.again) this.servers.push(await begin());
  }

  /** Accepts no more. Connections stay. */
  async close(): Promise<void> {
    this.again = [];
    // Without waiting for `close` to call back: that waits for the connections, which are not the server's any more.
    for (const server of this.servers) server.close();
    this.servers.length = 0;
  }
}

function listen(server: Server, host: string, port: number, backlog: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // Without a host Node listens on every interface of both address families.
    server.listen(host === '' ? { port, backlog } : { host, port, backlog }, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

/** A machine without IPv6 has no ::1: 127.0.0.1 alone will do there. */
function isMissingAddressFamily(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT' || code === 'EINVAL';
}

/** Which is no reason to fail where any port would do: the free one was found on 127.0.0.1. */
function isTaken(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
}

function describe(error: NodeJS.ErrnoException, address: ListenAddress): string {
  const at = `${address.name}://${address.host}:${address.port}`;
  switch (error.code) {
    case 'EADDRINUSE':
      return `cannot listen on ${at}: the port is in use; stop what listens there or choose another with --listen`;
    case 'EACCES':
      return `cannot listen on ${at}: not allowed to take that port`;
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `cannot listen on ${at}: ${address.host} is no address of this machine`;
    default:
      return `cannot listen on ${at}: ${error.message}`;
  }
}
