"""Harness of the Python scenarios: each prints `pass NAME` or `fail NAME`; why goes to standard error."""
import os
import sys
import time
import traceback
import urllib.request

ADDRESS = sys.argv[1]
SHORT = os.environ.get("COMPAT_FORM") == "short"
_RUN = format(int(time.time() * 1000), "x")
_count = 0


def unique(prefix):
    """A name that no other run uses."""
    global _count
    _count += 1
    return f"{prefix}-{_RUN}-{_count}"


def report(name, error=None):
    if error is None:
        print(f"pass {name}", flush=True)
    else:
        print(f"fail {name}", flush=True)
        traceback.print_exception(error, file=sys.stderr)


def scenario(name, body):
    try:
        body()
    except BaseException as error:  # a client may raise anything
        report(name, error)
    else:
        report(name)


def until(seconds, what, condition):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def restart_broker():
    """Asks the runner to kill the broker (-9) and start it again on the same data."""
    request = urllib.request.Request(os.environ["COMPAT_CONTROL"] + "/restart", method="POST")
    urllib.request.urlopen(request, timeout=60).read()
