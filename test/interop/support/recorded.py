"""What `rsds record` watches: ADDRESS FILE. Once FILE is there: data from before, graphs that wait for one another, a failure, and a transfer."""

import operator
import os
import sys
import time

from dask.distributed import Client, wait


def slow(i, data):
    time.sleep(0.02)
    return i + len(data)


def fail(x):
    raise ValueError(x)


def main(address: str, file: str) -> None:
    with Client(address) as client:
        client.wait_for_workers(2, timeout=60)
        data = client.scatter(b"x" * 100_000, broadcast=False)
        before = client.submit(operator.neg, 3, pure=False)
        wait(before)
        print("ready", flush=True)
        while not os.path.exists(file):
            time.sleep(0.02)
        parts = client.map(slow, range(100), data=data, pure=False)
        total = client.submit(sum, parts, pure=False)
        assert total.result() == sum(range(100)) + 100 * 100_000
        time.sleep(0.3)
        # Of two graphs, on two workers.
        more = client.map(operator.add, parts[:50], parts[50:], pure=False)
        assert client.submit(max, [*more, before], pure=False).result() > 0
        failed = client.submit(fail, parts[0], pure=False)
        wait(failed)
        assert failed.status == "error"
        del parts, total, more, failed


main(*sys.argv[1:])
