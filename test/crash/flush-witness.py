"""
Appends to files of a directory and flushes after every record, on several threads: `flush-witness.py DIRECTORY THREADS`. A line for each flush
that reported success: `FILE NUMBER BEGUN ENDED`, seconds of the monotonic clock.
"""

import os
import sys
import threading
import time


def record(number):
    return (b'%015d ' % number) * (1 + (number * 7919) % 512)


def run(at):
    file = os.open(os.path.join(sys.argv[1], f'file{at}'), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    number = 0
    while True:
        try:
            os.write(file, record(number))
            begun = time.monotonic()
            os.fdatasync(file)
        except OSError:
            return
        os.write(1, b'%d %d %.6f %.6f\n' % (at, number, begun, time.monotonic()))
        number += 1


for at in range(int(sys.argv[2])):
    threading.Thread(target=run, args=[at]).start()
