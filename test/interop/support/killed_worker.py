"""Kills a worker with SIGKILL in the middle of a computation; the result must still be right.

    killed_worker.py ADDRESS NAME comes-back|stays-away
"""

import os
import signal
import sys
import time

from dask.distributed import Client, as_completed

WAIT_SECONDS = 60


def slow_square(x):
    time.sleep(0.02)
    return x * x


def add(*xs):
    return sum(xs)


def main(address, name, afterwards):
    with Client(address, timeout=60) as client:
        client.wait_for_workers(2, timeout=WAIT_SECONDS)
        workers = client.scheduler_info()["workers"]
        (victim,) = [where for where, about in workers.items() if about["name"] == name]
        pid = client.run(os.getpid)[victim]
        count = 400
        leaves = client.map(slow_square, range(count))
        sums = [client.submit(add, *leaves[i : i + 20]) for i in range(0, count, 20)]
        total = client.submit(add, *sums)
        # Some results are in the victim's memory, some of its tasks are running, others wait.
        for done, _ in enumerate(as_completed(leaves)):
            if done == count // 4:
                break
        os.kill(pid, signal.SIGKILL)
        expected = sum(x * x for x in range(count))
        assert total.result(timeout=WAIT_SECONDS) == expected
        assert client.gather(leaves) == [x * x for x in range(count)]
        if afterwards == "comes-back":
            client.wait_for_workers(2, timeout=WAIT_SECONDS)
            assert pid not in client.run(os.getpid).values()
        else:
            assert victim not in client.scheduler_info()["workers"]


if __name__ == "__main__":
    main(*sys.argv[1:])
