/**
 * One process a data directory. Node has no flock, so the lock is a listening socket, which the kernel takes back when the
 * process dies, however it dies: on Linux an abstract one named by the directory's device and inode (nothing on disk, no
 * stale file, any path to the directory meets the same name), and everywhere a socket file in the directory, which also
 * meets a process in another container (abstract names end at the network namespace).
 */
import { stat, unlink } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join, relative } from 'node:path';
import { DirectoryInUseError, type DirectoryLock, errorCodeOf } from './file-system.ts';

export async function lockDirectory(path: string): Promise<DirectoryLock> {
  const servers: Server[] = [];
  try {
    if (process.platform === 'linux') {
      const info = await stat(path, { bigint: true });
      servers.push(await listen(`\0odradek-${info.dev}-${info.ino}`));
    }
    const file = await listenOnFile(socketPath(path));
    if (file !== undefined) servers.push(file);
  } catch (error) {
    for (const server of servers) server.close();
    if (errorCodeOf(error) === 'EADDRINUSE') throw new DirectoryInUseError(path);
    throw error;
  }
  return { release: async () => void (await Promise.all(servers.map(close))) };
}

/** Whether a process holds the directory, without taking it. */
export async function isDirectoryHeld(path: string): Promise<boolean> {
  if (process.platform === 'linux') {
    const info = await stat(path, { bigint: true });
    if (await isAnswered(`\0odradek-${info.dev}-${info.ino}`)) return true;
  }
  return isAnswered(socketPath(path));
}

/** Socket paths are short (108 bytes on Linux), so the shorter of the two ways to say it. */
function socketPath(directory: string): string {
  if (process.platform === 'win32') {
    return `\\\\.\\pipe\\odradek-${Buffer.from(directory.toLowerCase()).toString('base64url')}`;
  }
  const absolute = join(directory, 'lock');
  const short = relative(process.cwd(), absolute);
  return short.length < absolute.length ? short : absolute;
}

/** Undefined where the file system has no sockets or the path is too long: the abstract name must do then. */
async function listenOnFile(path: string): Promise<Server | undefined> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await listen(path);
    } catch (error) {
      const code = errorCodeOf(error);
      if (code === 'EADDRINUSE') {
        if (attempt > 0 || (await isAnswered(path))) throw error;
        await unlink(path); // its process is dead
      } else if (process.platform === 'linux') {
        return undefined;
      } else {
        throw error;
      }
    }
  }
}

function listen(path: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', reject);
    server.listen(path, () => {
      server.unref();
      resolve(server);
    });
  });
}

/** True where somebody listens, or where that cannot be told. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error) =>
      resolve(errorCodeOf(error) !== 'ECONNREFUSED' && errorCodeOf(error) !== 'ENOENT'),
    );
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
