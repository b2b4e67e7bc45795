"""policies.py ADDRESS [KILL]: work of several kinds, whatever places it. KILL: the pid of a process to be killed meanwhile."""

import os
import signal
import sys
import time

import dask.array as da
from distributed import Client, get_worker, wait


def inc(x):
    return x + 1


def slow(x):
    time.sleep(0.02)
    return x


class Counter:
    n = 0

    def increment(self):
        self.n += 1
        return self.n


def main(address, *kill):
    with Client(address) as client:
        client.wait_for_workers(2)
        futures = client.map(slow, range(100))
        for pid in kill:
            wait(futures[:10])
            os.kill(int(pid), signal.SIGKILL)
        assert client.submit(sum, futures).result() == sum(range(100))
        # Runs of neighbours, transfers, a reduction.
        x = da.ones((400, 400), chunks=(50, 50))
        assert (x + x.T).sum().compute() == 320_000
        # Tied to a worker; data from outside; an actor.
        other = sorted(client.scheduler_info()["workers"])[0]
        where = client.submit(lambda: get_worker().address, workers=[other], pure=False).result()
        assert where == other, where
        [data] = client.scatter([41])
        assert client.submit(inc, data).result() == 42
        counter = client.submit(Counter, actor=True).result()
        assert [counter.increment().result() for _ in range(3)] == [1, 2, 3]
        # A chain, a failure, and many at once again.
        last = client.submit(inc, 0, pure=False)
        for _ in range(5):
            last = client.submit(inc, last, pure=False)
        assert last.result() == 6
        assert isinstance(client.submit(lambda: 1 / 0).exception(), ZeroDivisionError)
        assert client.gather(client.map(inc, range(500))) == list(range(1, 501))
    print("OK")


main(*sys.argv[1:])
