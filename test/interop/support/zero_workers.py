"""A real client whose tasks no one executes: every result is 42.

    zero_workers.py ADDRESS WORKERS TASKS
"""

import sys

import dask.bag as db
from dask.distributed import Client


def inc(x):
    return x + 1


def main(address, workers, tasks):
    with Client(address, timeout=60) as client:
        client.wait_for_workers(int(workers), timeout=60)
        futures = client.map(inc, range(int(tasks)))
        merged = client.submit(sum, futures)
        assert merged.result(timeout=60) == 42, merged.result()
        bag = db.from_sequence(range(1000), npartitions=50).map(inc)
        assert client.compute(bag.sum()).result(timeout=60) == 42
        assert client.compute(bag.map(str).frequencies().topk(3).count()).result(timeout=60) == 42


if __name__ == "__main__":
    main(*sys.argv[1:])
