"""policies_client.py ADDRESS: a real Dask client that computes on real workers, for profiles/bench-policies.mjs.

Reads a name of CASES a line; prints "ready" once the collection is made, computes it at the next line, and prints
{"wall_s"}: from the call until the result is with the client.
"""

import json
import operator
import random
import sys
import time

import dask
import dask.array as da
from dask import delayed
from dask.datasets import timeseries
from distributed import Client, wait


def inc(x):
    return x + 1


def merge(client):
    """Ten thousand tiny tasks, and one that needs all of them."""
    last = delayed(sum, pure=False)([delayed(inc, pure=False)(i) for i in range(10_000)])
    return lambda: last.compute()


def groupby(client):
    """A dataframe's groupby whose groups are shuffled, task by task."""
    frame = timeseries("2000-01-01", "2000-03-01", freq="20s", partition_freq="1D")
    result = frame.groupby("name").x.mean(split_out=8, shuffle_method="tasks")
    return lambda: result.compute()


def shuffled(client):
    """Each group's rows in one place: all partitions to all partitions."""
    frame = timeseries("2000-01-01", "2000-02-01", freq="20s", partition_freq="1D")
    result = frame.groupby("id").x.apply(len, meta=("x", int))
    return lambda: result.sum().compute()


def array(client):
    """A matrix and its transpose, whose chunks have to meet, and a reduction."""
    x = da.random.random((6000, 6000), chunks=(500, 500))
    result = (x + x.T).std(axis=0).sum()
    return lambda: result.compute()


def uneven(client):
    """Tasks from one to two hundred milliseconds, in no order, and a second one on each."""
    dice = random.Random(7)
    times = [0.001 * 200 ** dice.random() for _ in range(300)]

    def run():
        slept = client.map(rest, times, pure=False)
        return client.submit(sum, client.map(operator.neg, slept), pure=False).result()

    return run


def rest(seconds):
    time.sleep(seconds)
    return seconds


def heavy_tail(client):
    """What one task makes is worked on by many, of which every tenth takes long: they all are where their input is."""
    dice = random.Random(8)
    times = [0.4 if dice.random() < 0.1 else 0.02 for _ in range(100)]

    def run():
        data = client.submit(bytes, 1_000_000, pure=False)
        parts = [client.submit(operator.getitem, data, slice(i, i + 10), pure=False) for i in range(3)]
        wait(parts)
        return client.submit(sum, client.map(rest_on, times, data=parts, pure=False)).result()

    return run


def rest_on(seconds, data):
    time.sleep(seconds)
    return len(data)


CASES = {make.__name__: make for make in (merge, groupby, shuffled, array, uneven, heavy_tail)}


def main(address):
    dask.config.set({"dataframe.shuffle.method": "tasks"})
    with Client(address) as client:
        for line in sys.stdin:
            compute = CASES[line.strip()](client)
            print("ready", flush=True)
            sys.stdin.readline()
            start = time.monotonic()
            compute()
            print(json.dumps({"wall_s": time.monotonic() - start}), flush=True)
            del compute


main(sys.argv[1])
