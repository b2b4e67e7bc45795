"""stimuli_client.py ADDRESS: a real Dask client that has a scheduler do some of everything, for scripts/record-stimuli.mjs.

Three workers of one thread are there; the last of them is killed on the way.
"""

import os
import sys
import time

import dask.array as da
from dask.datasets import timeseries
from distributed import Client, Reschedule, get_worker, secede, wait, worker_client


def inc(i):
    time.sleep(0.002)
    return i + 1


def uneven(i):
    time.sleep(0.05 if i % 7 == 0 else 0.001)
    return i


def fails(*_):
    raise ValueError("on purpose")


def fails_twice(path):
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) < 3:
        raise ValueError("not yet")
    return "at last"


def elsewhere(first):
    """Asks to be placed anew by the worker that it must not stay on."""
    if get_worker().address == first:
        raise Reschedule
    return get_worker().address


def aside(i):
    secede()
    time.sleep(0.05)
    return i


def nested(i):
    with worker_client() as client:
        return sum(client.gather(client.map(inc, range(i, i + 3))))


class Counter:
    def __init__(self):
        self.n = 0

    def increment(self):
        self.n += 1
        return self.n


def main(address, scratch):
    with Client(address) as client:
        client.wait_for_workers(3)
        first, second, third = sorted(client.scheduler_info(n_workers=-1)["workers"])

        # Futures, inputs that move, steals.
        ones = client.map(inc, range(60))
        total = client.submit(sum, ones)
        skewed = client.map(uneven, range(60), workers=[first], allow_other_workers=True)
        assert client.gather(total) == sum(range(1, 61))
        wait(skewed)

        # Errors, retries, cancellation, data from outside.
        broken = client.submit(fails, client.submit(inc, 100))
        after = client.map(inc, [broken] * 3, pure=False)
        assert client.submit(fails_twice, os.path.join(scratch, "tries"), retries=3).result() == "at last"
        wait([broken, *after])
        after[0].retry()
        wait(after)
        slow = client.map(time.sleep, [1.01, 1.02, 1.03, 1.04, 1.05, 1.06])
        client.cancel(slow[1:])
        data = client.scatter({"a": 1, "b": 2}, broadcast=True)
        (far,) = client.scatter([list(range(1000))], workers=[third])
        assert client.submit(len, far, workers=[first]).result() == 1000
        assert sum(client.gather(client.map(inc, list(data.values())))) == 5

        # What leaves its slot, is placed anew, submits itself, or lives on a worker.
        assert client.gather(client.map(aside, range(6))) == list(range(6))
        assert client.submit(elsewhere, first, workers=[first, second]).result() == second
        assert client.submit(nested, 1).result() == 2 + 3 + 4
        counter = client.submit(Counter, actor=True).result()
        assert [counter.increment().result() for _ in range(3)] == [1, 2, 3]

        # Collections: a shuffle over workers, an array's reduction.
        frame = timeseries("2000-01-01", "2000-01-09", freq="60s", partition_freq="1D")
        assert len(client.compute(frame.shuffle("name").x.mean(), sync=True).__repr__()) > 0
        x = da.random.random((600, 600), chunks=(150, 150))
        assert float(client.compute((x + x.T).std(axis=0).sum(), sync=True)) > 0

        # A worker dies with results and tasks; what is lost is computed again.
        kept = client.map(inc, range(200, 230))
        wait(kept)
        client.submit(os._exit, 1, workers=[third], pure=False)
        again = client.map(inc, kept)
        assert client.gather(client.submit(sum, again)) == sum(i + 2 for i in range(200, 230))
        client.replicate(again[:5], n=2)
        client.retire_workers([second])
        assert client.gather(client.submit(sum, client.map(inc, again))) == sum(i + 3 for i in range(200, 230))
        del kept, again, ones, skewed
        time.sleep(0.5)


main(*sys.argv[1:])
