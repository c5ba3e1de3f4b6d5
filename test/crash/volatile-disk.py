"""
A disk with a volatile write cache, as a file that a loop device can stand on: `volatile-disk.py DIRECTORY` serves DIRECTORY/device (FUSE, its
root is the one file). What was written lies in the cache until a flush; when the power is cut, of what was not flushed any part may
be on the disk: nothing, everything, what came first, or single sectors. From the moment of the cut nothing is answered any more,
so nobody can take a flush for done that the cut prevented.

DIRECTORY/disk is what is on the disk, DIRECTORY/cached what a reader sees. Commands are lines of the input, each answered by a line:
  cut SEED COMMITLOG   begins to write some pages of the log's last segments without flushing, then cuts the power: `cut PAGES SECONDS`,
                       the moment by the monotonic clock
  off                  fails what waits and all that comes, so that the dead machine can be put away: `off`
  on SEED              settles what of the cache reached the disk, and serves again: `on CACHED-BLOCKS KEPT-BLOCKS`
  keep PATH            writes what the last cut left on the disk to a file, while the disk is unmounted: `kept`
"""

import ctypes
import os
import random
import select
import struct
import subprocess
import sys
import threading
import time

EIO, ENOSYS = 5, 38
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC = 1, 2, 3, 4, 14, 15, 16, 17, 18, 20
FLUSH, INIT, INTERRUPT, DESTROY, BATCH_FORGET = 25, 26, 36, 38, 42
LARGEST_WRITE = 1 << 20
FOPEN_DIRECT_IO = 1
INIT_FLAGS = (1 << 0) | (1 << 5) | (1 << 22)  # asynchronous reads, big writes, the number of pages in the answer
PAGE = 4096
LONGEST_FLUSH_S = 0.004

libc = ctypes.CDLL(None, use_errno=True)
libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


class Disk:
    def __init__(self, directory):
        self.disk = os.open(os.path.join(directory, 'disk'), os.O_RDWR)
        self.cached = os.open(os.path.join(directory, 'cached'), os.O_RDWR)
        self.size = os.fstat(self.disk).st_size
        self.device = os.path.join(directory, 'device')
        self.fuse = os.open('/dev/fuse', os.O_RDWR)
        options = f'fd={self.fuse},rootmode=0100600,user_id={os.getuid()},group_id={os.getgid()},max_read={LARGEST_WRITE}'
        subprocess.run(
            ['mount', '-i', '-t', 'fuse', '-o', options, 'volatile-disk', self.device],
            check=True,
            pass_fds=[self.fuse],
        )
        # Writes that no flush has covered, in their order: (number, offset, bytes).
        self.cache = []
        self.written = 0
        # Flushes on their way: (due, unique, number of writes before it).
        self.flushes = []
        # Pages as they were when the power came back, of those written since.
        self.after_cut = {}
        self.state = 'on'
        self.unanswered = []
        self.random = random.Random(1)
        self.commands = []
        self.wake_read, self.wake_write = os.pipe()

    def answer(self, unique, data=b'', error=0):
        try:
            os.write(self.fuse, struct.pack('<IiQ', 16 + len(data), -error, unique) + data)
        except FileNotFoundError:
            pass  # interrupted meanwhile

    def attributes(self):
        return struct.pack(
            '<QII6Q3I7I', 3600, 0, 0, 1, self.size, self.size // 512, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, PAGE, 0
        )

    def serve(self, request):
        length, opcode, unique = struct.unpack_from('<IIQ', request)
        body = memoryview(request)[40:length]
        if opcode == INIT:
            minor = min(31, struct.unpack_from('<I', body, 4)[0])
            self.answer(
                unique,
                struct.pack('<IIIIHHIIHHI7I', 7, minor, 1 << 17, INIT_FLAGS, 64, 48, LARGEST_WRITE, 1, 256, 0, 0, *[0] * 7),
            )
        elif opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            pass
        elif opcode in (GETATTR, SETATTR):
            self.answer(unique, self.attributes())
        elif opcode == OPEN:
            self.answer(unique, struct.pack('<QIi', 1, FOPEN_DIRECT_IO, 0))
        elif opcode == STATFS:
            self.answer(unique, struct.pack('<5Q10I', 1 << 20, 1 << 20, 1 << 20, 1, 0, PAGE, 255, PAGE, 0, *[0] * 6))
        elif opcode in (RELEASE, FLUSH, DESTROY):
            self.answer(unique)
        elif opcode not in (READ, WRITE, FSYNC):
            self.answer(unique, error=ENOSYS)
        elif self.state == 'cut':
            self.unanswered.append(unique)
            if opcode == WRITE:  # was on its way, so parts of it may be on the disk
                offset, size = struct.unpack_from('<QI', body, 8)
                self.cache.append((self.written + 1, offset, bytes(body[40 : 40 + size])))
        elif self.state == 'off':
            self.answer(unique, error=EIO)
        elif opcode == READ:
            offset, size = struct.unpack_from('<QI', body, 8)
            self.answer(unique, os.pread(self.cached, size, offset))
        elif opcode == WRITE:
            offset, size = struct.unpack_from('<QI', body, 8)
            data = bytes(body[40 : 40 + size])
            os.pwrite(self.cached, data, offset)
            self.written += 1
            self.cache.append((self.written, offset, data))
            self.answer(unique, struct.pack('<II', size, 0))
        else:
            due = time.monotonic() + self.random.random() ** 3 * LONGEST_FLUSH_S
            self.flushes.append((due, unique, self.written))

    def finish_flushes(self):
        now = time.monotonic()
        for flush in [one for one in self.flushes if one[0] <= now]:
            self.flushes.remove(flush)
            while self.cache and self.cache[0][0] <= flush[2]:
                _, offset, data = self.cache.pop(0)
                self.write_disk(offset, data)
            self.answer(flush[1])

    def write_disk(self, offset, data):
        for page in range(offset // PAGE, (offset + len(data) - 1) // PAGE + 1):
            if page not in self.after_cut:
                self.after_cut[page] = os.pread(self.disk, PAGE, page * PAGE)
        os.pwrite(self.disk, data, offset)

    def cut(self, pages):
        self.state = 'cut'
        now = time.monotonic()
        self.unanswered += [unique for _, unique, _ in self.flushes]
        self.flushes = []
        print('cut', pages, now, flush=True)

    def off(self):
        self.state = 'off'
        for unique in self.unanswered:
            self.answer(unique, error=EIO)
        self.unanswered = []
        print('off', flush=True)

    def on(self, seed):
        rng = random.Random(seed)
        how = rng.choice(['nothing', 'everything', 'first', 'some', 'some', 'some'])
        until = rng.randrange(len(self.cache) + 1)
        likely = rng.random()
        unit = rng.choice([512, PAGE])
        blocks = kept = 0
        for at, (_, offset, data) in enumerate(self.cache):
            for begin in range(0, len(data), unit):
                blocks += 1
                if how == 'everything' or (how == 'first' and at < until) or (how == 'some' and rng.random() < likely):
                    os.pwrite(self.disk, data[begin : begin + unit], offset + begin)
                    kept += 1
        for _, offset, data in self.cache:
            os.pwrite(self.cached, os.pread(self.disk, len(data), offset), offset)
        self.cache = []
        self.after_cut = {}
        self.state = 'on'
        print('on', blocks, kept, flush=True)

    def keep(self, path):
        subprocess.run(['cp', '--sparse=always', os.path.join(os.path.dirname(self.device), 'disk'), path], check=True)
        image = os.open(path, os.O_RDWR)
        for page, data in self.after_cut.items():
            os.pwrite(image, data, page * PAGE)
        os.close(image)
        print('kept', flush=True)

    def run(self):
        poll = select.poll()
        poll.register(self.fuse, select.POLLIN)
        poll.register(self.wake_read, select.POLLIN)
        while True:
            wait = min((due for due, _, _ in self.flushes), default=None)
            for file, _ in poll.poll(None if wait is None else max(0, (wait - time.monotonic()) * 1000)):
                if file == self.wake_read:
                    os.read(self.wake_read, 1)
                    command = self.commands.pop(0)
                    if command is None:
                        return
                    command[0](*command[1:])
                    continue
                try:
                    request = os.read(self.fuse, LARGEST_WRITE + PAGE)
                except FileNotFoundError:
                    continue  # interrupted meanwhile
                except OSError:
                    return  # unmounted
                self.serve(request)
            self.finish_flushes()

    def command(self, command):
        self.commands.append(command)
        os.write(self.wake_write, b'.')


def send_pages(log, rng):
    """Begins to write pages of the log's last two segments, in no order and without a flush."""
    pages = 0
    for name in sorted(os.listdir(log))[-2:] if os.path.isdir(log) else []:
        file = os.open(os.path.join(log, name), os.O_RDONLY)
        last = os.fstat(file).st_size // PAGE
        for _ in range(rng.randrange(8)):
            page = max(0, last - rng.randrange(64))
            if libc.sync_file_range(file, page * PAGE, PAGE, 2) == 0:
                pages += 1
        os.close(file)
    return pages


def obey(disk):
    """On a thread of its own, since it waits for the file system, which waits for the disk."""
    for line in sys.stdin:
        command, *words = line.split()
        if command == 'cut':
            disk.command((disk.cut, send_pages(words[1], random.Random(int(words[0])))))
        elif command == 'off':
            disk.command((disk.off,))
        elif command == 'on':
            disk.command((disk.on, int(words[0])))
        elif command == 'keep':
            disk.command((disk.keep, words[0]))
    disk.command(None)


def main():
    disk = Disk(sys.argv[1])
    threading.Thread(target=obey, args=[disk], daemon=True).start()
    print('ready', flush=True)
    disk.run()
    os.close(disk.fuse)
    subprocess.run(['umount', '-l', disk.device], stderr=subprocess.DEVNULL)


main()
