"""Two workers of 100 kB, `a` and `b`: what does not fit them, and what is shared between them. Usage: limits.py ADDRESS"""

import sys
import time

from dask.distributed import Client, wait


def filled(i):
    return b"\1" * 30_000


def together(*parts):
    return sum(map(len, parts))


def slow(i):
    time.sleep(0.1)
    return i


def oversized(client):
    parts = client.map(filled, range(4))
    total = client.submit(together, *parts, key="total")
    dependent = client.submit(str, total)
    try:
        dependent.result(timeout=30)
    except MemoryError as error:
        text = str(error)
    assert "Task 'total' has 117.19 " in text and " worth of input dependencies" in text, text
    assert " has memory_limit set to 97.66 " in text, text
    assert total.status == "error"
    # It never reached a worker, and its inputs are as good as before.
    assert client.submit(len, parts[0]).result(timeout=30) == 30_000
    assert any("worth of input" in line for _, line in client.get_scheduler_logs())
    del parts, total, dependent


def shared(client):
    addresses = {w["name"]: address for address, w in client.scheduler_info()["workers"].items()}
    futures = client.map(slow, range(20), workers=addresses["a"], allow_other_workers=True)
    wait(futures, timeout=60)
    held = {address: len(keys) for address, keys in client.has_what().items()}
    assert min(held.values()) >= 4, held


def logs(client):
    lines = [line for _, line in client.get_scheduler_logs(n=5)]
    assert lines and all(" - distributed.scheduler - " in line for line in lines), lines


def main(address):
    with Client(address, timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
        for part in (oversized, shared, logs):
            part(client)
            print("ok", part.__name__)


if __name__ == "__main__":
    main(*sys.argv[1:])
