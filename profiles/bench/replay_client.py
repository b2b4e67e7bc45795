"""replay_client.py ADDRESS: a real Dask client whose runs are recorded, for profiles/bench-replay.mjs.

Reads a name of CASES a line, computes it, and prints {"wall_s"}: from the call until the result is with the client.
"""

import json
import sys
import time

import dask.array as da
from dask import delayed
from dask.datasets import timeseries
from distributed import Client


def work(i):
    time.sleep(0.01)
    return i


def merge():
    """Five hundred tasks of 10 ms, and one that needs all of them."""
    return delayed(sum, pure=False)([delayed(work, pure=False)(i) for i in range(500)])


def groupby():
    """A dataframe's groupby over two months of random rows."""
    frame = timeseries("2000-01-01", "2000-03-01", freq="5s", partition_freq="1D")
    return frame.groupby("name").agg({"x": ["mean", "std"], "y": "sum"})


def array():
    """A matrix and its transpose, whose chunks have to meet, and a reduction."""
    x = da.random.random((5000, 5000), chunks=(500, 500))
    return (x + x.T).std(axis=0).sum()


def sleep(i, seconds):
    time.sleep(seconds)
    return i


def pause(seconds, *inputs):
    return delayed(sleep, pure=False)(inputs, seconds)


def even():
    """Twenty-four tasks of a quarter of a second, and one that needs all of them."""
    return delayed(len, pure=False)([pause(0.25) for _ in range(24)])


def uneven():
    """Twenty-four short tasks and four long ones in their midst."""
    return delayed(len, pure=False)([pause(1 if i % 7 == 3 else 0.1) for i in range(28)])


def chains():
    """Six chains of five tasks."""
    ends = []
    for _ in range(6):
        link = pause(0.2)
        for _ in range(4):
            link = pause(0.2, link)
        ends.append(link)
    return delayed(len, pure=False)(ends)


CASES = {make.__name__: make for make in (merge, groupby, array, even, uneven, chains)}


def main(address):
    with Client(address) as client:
        client.wait_for_workers(2)
        for line in sys.stdin:
            collection = CASES[line.strip()]()
            start = time.monotonic()
            client.compute(collection, sync=True)
            print(json.dumps({"wall_s": time.monotonic() - start}), flush=True)


main(sys.argv[1])
