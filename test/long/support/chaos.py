"""A graph of 200 tasks of 0.1 s, again and again, each time while something happens to a worker.

    chaos.py ADDRESS REPEATS CUT_HOST CUT_PORT

Whoever connects to the second address has all connections between workers and scheduler cut.
"""

import contextlib
import os
import random
import signal
import socket
import sys
import threading
import time

from dask.distributed import Client

WIDTH = 50
WORKERS = 4
SECONDS = 0.1
WAIT_SECONDS = 120


def combine(*values):
    time.sleep(SECONDS)
    return sum(values) * 3 % 1_000_003


def compute(call, name):
    """Four layers of 50; each task but the first ones needs three of the layer before."""
    layer = [call(combine, i, key=f"{name}-0-{i}") for i in range(WIDTH)]
    for depth in (1, 2, 3):
        chosen = [[layer[(i * step + depth) % WIDTH] for step in (1, 7, 11)] for i in range(WIDTH)]
        layer = [call(combine, *values, key=f"{name}-{depth}-{i}") for i, values in enumerate(chosen)]
    return layer


def kill(client, worker, pid):
    os.kill(pid, signal.SIGKILL)


def stop(client, worker, pid):
    os.kill(pid, signal.SIGSTOP)
    # Once it is given up it may wake: what it says then must not count.
    threading.Timer(12, wake, [pid]).start()


def wake(pid):
    # Its nanny may have ended it.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def restart(client, worker, pid):
    client.restart_workers([worker], timeout=WAIT_SECONDS, raise_for_error=False)


def cut(client, worker, pid):
    socket.create_connection((sys.argv[3], int(sys.argv[4])), timeout=10).close()


def main(address, repeats):
    global SECONDS
    SECONDS = 0
    expected = compute(lambda function, *values, key: function(*values), "here")
    SECONDS = 0.1
    for repeat in range(repeats):
        what = (kill, stop, restart, cut)[repeat % 4]
        with Client(address, timeout=WAIT_SECONDS) as client:
            client.wait_for_workers(WORKERS, timeout=WAIT_SECONDS)
            pids = client.run(os.getpid)
            worker = random.Random(repeat).choice(sorted(pids))
            began = time.monotonic()
            futures = compute(client.submit, f"r{repeat}")
            time.sleep(0.8)
            what(client, worker, pids[worker])
            got = [future.result(timeout=WAIT_SECONDS) for future in futures]
            assert got == expected, f"repeat {repeat} ({what.__name__}): wrong results"
            print(f"repeat {repeat} {what.__name__} {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
