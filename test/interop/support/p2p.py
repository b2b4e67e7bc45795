"""P2P shuffles, merges and rechunks by a real client, compared with the same without a cluster; one JSON line each.

    p2p.py ADDRESS NAME …
"""

import json
import os
import signal
import sys
import threading
import time
import traceback

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.distributed import Client, wait

WAIT_SECONDS = 60


def eventually(condition, what):
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {WAIT_SECONDS} s: {what}"
        time.sleep(0.05)


def frame_of(seed, rows=4000, partitions=8):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"k": rng.integers(0, 200, rows), "x": rng.random(rows), "s": rng.choice(list("abc"), rows)})
    return dd.from_pandas(frame, npartitions=partitions), frame


def by_rows(frame):
    columns = sorted(frame.columns)
    return frame[columns].sort_values(columns).reset_index(drop=True)


def assert_same_rows(result, expected):
    pd.testing.assert_frame_equal(by_rows(result), by_rows(expected), check_dtype=False)


def runs_on_workers(client):
    """P2P runs that workers have not closed."""
    return sum(client.run(lambda dask_worker: len(dask_worker.extensions["shuffle"].shuffle_runs._runs)).values())


def shuffled(seed, **options):
    lazy, frame = frame_of(seed)
    result = lazy.shuffle("k", **options)
    parts = dask.compute(*result.to_delayed())
    where = {}
    for number, part in enumerate(parts):
        for value in part.k.unique():
            assert where.setdefault(value, number) == number, "a value in two partitions"
    assert_same_rows(pd.concat(parts), frame)


def shuffle(client):
    shuffled(1)


def shuffle_to_more_partitions(client):
    shuffled(2, npartitions=20)


def twice(client):
    shuffled(3)
    shuffled(3)


def persisted(client):
    lazy, frame = frame_of(4)
    kept = lazy.shuffle("k").persist()
    wait(kept, timeout=WAIT_SECONDS)
    # The shuffle is over, its outputs are not.
    eventually(lambda: runs_on_workers(client) == 0, "the runs are closed")
    assert_same_rows(kept.compute(), frame)


def merge(client):
    left, left_frame = frame_of(5)
    right, right_frame = frame_of(6, rows=1000, partitions=5)
    result = left.merge(right, on="k", how="outer", suffixes=("_l", "_r")).compute()
    assert_same_rows(result, left_frame.merge(right_frame, on="k", how="outer", suffixes=("_l", "_r")))


def set_index(client):
    lazy, frame = frame_of(7)
    result = lazy.set_index("x").compute()
    pd.testing.assert_frame_equal(result, frame.set_index("x").sort_index(), check_dtype=False)


def rechunk(client):
    x = np.arange(240_000).reshape(400, 600)
    lazy = da.from_array(x, chunks=(50, 600)).rechunk((400, 60))
    np.testing.assert_array_equal(lazy.compute(), x)


def rechunk_in_parts(client):
    # Only the first axis changes: many small shuffles instead of a large one.
    x = np.arange(90_000).reshape(30, 50, 60)
    lazy = da.from_array(x, chunks=(1, 50, 10)).rechunk((30, 10, 10))
    np.testing.assert_array_equal(lazy.compute(), x)


def concurrently(client):
    futures, expected = [], []
    for seed in range(10, 14):
        lazy, frame = frame_of(seed)
        futures.append(client.compute(lazy.shuffle("k").x.sum()))
        expected.append(frame.x.sum())
    x = da.ones((300, 300), chunks=(30, 300)).rechunk((300, 30))
    futures.append(client.compute(x.sum()))
    expected.append(90_000)
    np.testing.assert_allclose(client.gather(futures), expected)


def from_two_clients(client):
    failures = []

    def one(seed):
        try:
            with Client(client.scheduler.address, timeout=60, set_as_default=False) as other:
                lazy, frame = frame_of(seed)
                total = other.compute(lazy.shuffle("k").x.sum())
                np.testing.assert_allclose(total.result(timeout=WAIT_SECONDS), frame.x.sum())
        except BaseException:
            failures.append(traceback.format_exc())

    threads = [threading.Thread(target=one, args=(seed,)) for seed in (20, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


def fails(part):
    if len(part):
        raise ZeroDivisionError("an input of the shuffle")
    return part


def error_in_an_input(client):
    lazy, _ = frame_of(8)
    try:
        lazy.map_partitions(fails, meta=lazy._meta).shuffle("k").compute()
    except ZeroDivisionError:
        return
    raise AssertionError("no error")


def restricted_to_one_worker(client):
    address = sorted(client.scheduler_info()["workers"])[0]
    x = np.arange(90_000).reshape(300, 300)
    with dask.annotate(workers=[address], allow_other_workers=False):
        lazy = da.from_array(x, chunks=(30, 300)).rechunk((300, 30))
    with dask.config.set({"optimization.fuse.active": False}):
        future = client.compute(lazy, optimize_graph=False)
    np.testing.assert_array_equal(future.result(timeout=WAIT_SECONDS), x)


def cancelled(client):
    def slow(part):
        time.sleep(0.2)
        return part

    lazy, _ = frame_of(9, partitions=24)
    kept = lazy.map_partitions(slow, meta=lazy._meta).shuffle("k").persist()
    eventually(lambda: runs_on_workers(client) > 0, "the shuffle runs")
    del kept


def worker_killed(client):
    """While inputs are still coming in; a nanny brings the worker back, or others do its part."""

    def slow(part):
        time.sleep(0.1)
        return part

    lazy, frame = frame_of(30, partitions=40)
    future = client.compute(lazy.map_partitions(slow, meta=lazy._meta).shuffle("k"))
    eventually(lambda: runs_on_workers(client) >= 2, "the shuffle runs")
    pids = client.run(os.getpid)
    os.kill(pids[max(pids)], signal.SIGKILL)
    assert_same_rows(future.result(timeout=WAIT_SECONDS), frame)


def worker_killed_among_outputs(client):
    """After the barrier: outputs on the lost worker make the whole shuffle run anew."""

    def slow(part):
        time.sleep(0.1)
        return part

    lazy, frame = frame_of(31, partitions=30)
    kept = client.persist(lazy.shuffle("k").map_partitions(slow, meta=lazy._meta))
    eventually(lambda: any(key for keys in client.has_what().values() for key in keys if "slow" in str(key)), "outputs")
    pids = client.run(os.getpid)
    os.kill(pids[max(pids)], signal.SIGKILL)
    assert_same_rows(kept.compute(), frame)


def main(address, *names):
    with Client(address, timeout=60) as client:
        client.wait_for_workers(2, timeout=WAIT_SECONDS)
        for name in names:
            before = time.monotonic()
            try:
                # Dask's default on a cluster, said here so that a change of the default does not empty this test.
                with dask.config.set({"dataframe.shuffle.method": "p2p", "array.rechunk.method": "p2p"}):
                    globals()[name](client)
                eventually(lambda: runs_on_workers(client) == 0, "the runs are closed")
                eventually(lambda: not any(client.has_what().values()), "the workers' memory is empty")
                eventually(
                    lambda: not any(client.run(lambda dask_worker: len(dask_worker.data)).values()),
                    "nothing is stored",
                )
                fault = None
            except BaseException:
                fault = traceback.format_exc()
            print(json.dumps({"name": name, "seconds": round(time.monotonic() - before, 2), "fault": fault}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
