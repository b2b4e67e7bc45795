"""Everyday use of a cluster by a real client, one function for each thing; prints one JSON line for each.

    acceptance.py ADDRESS [NAME …]

A scenario raises if the cluster answers wrongly. Values are compared with the same computation without a cluster.
"""

import json
import operator
import signal
import sys
import time
import traceback

import dask
import dask.array as da
import dask.bag as db
import numpy as np
import pandas as pd
from dask import delayed
from dask.datasets import timeseries
from dask.distributed import CancelledError, Client, as_completed, wait

SCENARIO_SECONDS_MAX = 150
WAIT_SECONDS = 60


def inc(x):
    return x + 1


def add(x, y):
    return x + y


def slow_inc(x, seconds=0.05):
    time.sleep(seconds)
    return x + 1


def fails_deep_inside(x):
    raise ZeroDivisionError(f"cannot use {x}")


def calls_what_fails(x):
    return fails_deep_inside(x)


def eventually(condition, what):
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {WAIT_SECONDS} s: {what}"
        time.sleep(0.05)


def stored(client):
    """The keys in the workers' own memory, not in the scheduler's books."""
    found = client.run(lambda dask_worker: [str(key) for key in dask_worker.data])
    return sorted(key for keys in found.values() for key in keys)


def timeseries_groupby(client):
    frame = timeseries(end="2000-01-15", seed=7)
    result = frame.groupby("name").x.mean().compute()
    expected = timeseries(end="2000-01-15", seed=7).groupby("name").x.mean().compute(scheduler="sync")
    pd.testing.assert_series_equal(result.sort_index(), expected.sort_index())


def array_sums(client):
    x = da.random.RandomState(3).random_sample((1000, 1000), chunks=(100, 250))
    for expression in (x.sum(), (x + x.T.rechunk(x.chunks)).sum(), x.mean(axis=0).max(), da.ones((50, 50), chunks=9).sum()):
        np.testing.assert_allclose(expression.compute(), expression.compute(scheduler="sync"))


def submit(client):
    future = client.submit(inc, 1)
    assert future.result(timeout=WAIT_SECONDS) == 2
    assert future.status == "finished"
    assert future.type is int
    assert client.submit(lambda x, y=2: x * y, 21, pure=False).result(timeout=WAIT_SECONDS) == 42
    named = client.submit(add, 1, y=2, key="named")
    assert (named.key, named.result(timeout=WAIT_SECONDS)) == ("named", 3)


def map_and_gather(client):
    futures = client.map(inc, range(500))
    assert client.gather(futures) == list(range(1, 501))
    mixed = client.gather({"a": futures[0], "b": [futures[1], 5]})
    assert mixed == {"a": 1, "b": [2, 5]}
    assert sorted(future.result() for future in as_completed(client.map(operator.neg, range(20)))) == list(range(-19, 1))


def scatter(client):
    first, second = client.scatter([10, 20])
    assert client.submit(add, first, second).result(timeout=WAIT_SECONDS) == 30
    named = client.scatter({"alpha": 1, "beta": [2, 3]})
    assert client.gather(named) == {"alpha": 1, "beta": [2, 3]}
    # It would drop the copies that nobody needs, every two seconds.
    client.amm.stop()
    array = client.scatter(np.arange(200_000), broadcast=True)
    assert client.submit(np.sum, array).result(timeout=WAIT_SECONDS) == 19_999_900_000
    assert len(client.who_has([array])[array.key]) == len(client.scheduler_info()["workers"])
    client.amm.start()


def compute(client):
    bag = db.from_sequence(range(100), npartitions=7)
    one, two = client.compute([bag.map(inc).sum(), delayed(add)(1, delayed(inc)(1))])
    assert client.gather([one, two]) == [5050, 3]
    assert client.compute(bag.count(), sync=True) == 100
    assert dask.compute(bag.max(), delayed(inc)(5)) == (99, 6)


def tree_of_delayed(client):
    leaves = [delayed(inc)(i) for i in range(256)]
    while len(leaves) > 1:
        leaves = [delayed(add)(a, b) for a, b in zip(leaves[::2], leaves[1::2])]
    assert leaves[0].compute() == sum(range(1, 257))


def persist(client):
    x = client.persist(da.arange(1000, chunks=100) * 2)
    wait(x, timeout=WAIT_SECONDS)
    assert x.sum().compute() == 999_000
    assert (x + 1).max().compute() == 1999
    frame = timeseries(end="2000-01-04", seed=1).persist()
    assert len(frame) == 3 * 86_400


def cancel(client):
    chain = [client.submit(slow_inc, 0, 0.5, pure=False)]
    for _ in range(20):
        chain.append(client.submit(slow_inc, chain[-1], 0.5, pure=False))
    client.cancel(chain[1:])
    eventually(lambda: all(future.status == "cancelled" for future in chain[1:]), "the futures are cancelled")
    assert chain[-1].cancelled()
    assert chain[0].result(timeout=WAIT_SECONDS) == 1
    try:
        chain[-1].result(timeout=WAIT_SECONDS)
    except CancelledError:
        pass
    else:
        raise AssertionError("a cancelled future has a result")
    assert client.submit(inc, 1, pure=False).result(timeout=WAIT_SECONDS) == 2


def futures_as_arguments(client):
    one, two = client.submit(inc, 0, pure=False), client.submit(inc, 1, pure=False)
    assert client.submit(add, one, two).result(timeout=WAIT_SECONDS) == 3
    assert client.submit(sum, [one, two, one]).result(timeout=WAIT_SECONDS) == 4
    assert client.submit(lambda d: d["x"] + d["y"][0], {"x": one, "y": [two]}).result(timeout=WAIT_SECONDS) == 3
    assert client.gather(client.map(add, [one, two], [two, one])) == [3, 3]
    assert delayed(add)(one, delayed(inc)(two)).compute() == 4
    del one
    assert client.submit(inc, two).result(timeout=WAIT_SECONDS) == 3


def tuple_keys(client):
    graph = {("x", 0): 1, ("x", 1): (inc, ("x", 0)), ("y", 1.0, "z"): (add, ("x", 0), ("x", 1)), "s": (sum, [("x", 0), ("x", 1)])}
    assert client.get(graph, [("y", 1.0, "z"), "s", ("x", 1)]) == [3, 3, 2]
    future = client.submit(inc, 5, key=("mine", 3, ("deep", -2.5)))
    # The releases before 2023.10 make text of keys.
    assert future.key in (("mine", 3, ("deep", -2.5)), "('mine', 3, ('deep', -2.5))")
    assert future.result(timeout=WAIT_SECONDS) == 6
    assert client.submit(inc, future).result(timeout=WAIT_SECONDS) == 7
    assert list(client.who_has([future])) == [future.key]


def exception(client):
    future = client.submit(calls_what_fails, 7)
    after = client.submit(inc, future)
    for failed in (future, after):
        wait(failed, timeout=WAIT_SECONDS)
        assert failed.status == "error"
        assert repr(failed.exception()) == "ZeroDivisionError('cannot use 7')"
        names = [frame.name for frame in traceback.extract_tb(failed.traceback())]
        assert names[-2:] == ["calls_what_fails", "fails_deep_inside"], names
        try:
            failed.result(timeout=WAIT_SECONDS)
        except ZeroDivisionError as error:
            assert "fails_deep_inside" in "".join(traceback.format_tb(error.__traceback__))
        else:
            raise AssertionError("no exception")
    assert client.submit(inc, 1).result(timeout=WAIT_SECONDS) == 2
    try:
        (da.ones(10, chunks=5).map_blocks(fails_deep_inside, dtype=float)).compute()
    except ZeroDivisionError:
        return
    raise AssertionError("no exception from a collection")


def retries(client):
    def sometimes(path):
        import os

        with open(path, "a") as file:
            file.write("x")
        if os.path.getsize(path) < 3:
            raise OSError("not yet")
        return os.path.getsize(path)

    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        assert client.submit(sometimes, file.name, retries=5, pure=False).result(timeout=WAIT_SECONDS) == 3


def restrictions(client):
    for address in client.scheduler_info()["workers"]:
        futures = client.map(lambda i, where: (i, where), range(5), where=address, workers=[address], pure=False)
        wait(futures, timeout=WAIT_SECONDS)
        assert {holder for holders in client.who_has(futures).values() for holder in holders} == {address}


def release(client):
    eventually(lambda: stored(client) == [], "nothing is left of earlier scenarios")
    futures = client.map(lambda i: bytes(1_000_000 + i), range(20), pure=False)
    total = client.submit(lambda parts: sum(map(len, parts)), futures, pure=False)
    assert total.result(timeout=WAIT_SECONDS) == 20_000_190
    assert len(stored(client)) >= 21
    kept = futures[3]
    del futures, total
    # Perhaps on both workers: the sum's worker fetched it, and extra copies need not go at once.
    eventually(lambda: set(stored(client)) == {kept.key}, "only the kept result is in the workers' memory")
    assert len(kept.result(timeout=WAIT_SECONDS)) == 1_000_003
    del kept
    eventually(lambda: stored(client) == [], "the workers' memory is empty")


def client_close(client):
    eventually(lambda: stored(client) == [], "nothing is left of earlier scenarios")
    other = Client(client.scheduler.address, set_as_default=False)
    shared = client.submit(inc, 1000, key="shared")
    others = other.map(inc, range(10), pure=False)
    again = other.submit(inc, 1000, key="shared")
    assert other.gather(others) == list(range(1, 11))
    assert again.result(timeout=WAIT_SECONDS) == shared.result(timeout=WAIT_SECONDS) == 1001
    other.close()
    eventually(lambda: set(stored(client)) == {"shared"}, "what the closed client held alone is gone")
    assert shared.result(timeout=WAIT_SECONDS) == 1001


def two_clients(client):
    with Client(client.scheduler.address, set_as_default=False) as other:
        mine, others = client.map(inc, range(100), pure=False), other.map(operator.neg, range(100), pure=False)
        assert other.gather(others) == [-i for i in range(100)]
        assert client.gather(mine) == list(range(1, 101))


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        submit,
        map_and_gather,
        futures_as_arguments,
        tuple_keys,
        compute,
        tree_of_delayed,
        scatter,
        persist,
        exception,
        retries,
        restrictions,
        cancel,
        array_sums,
        timeseries_groupby,
        two_clients,
        release,
        client_close,
    )
}


def expired(signum, frame):
    raise TimeoutError(f"the scenario took more than {SCENARIO_SECONDS_MAX} s")


def run(name, address):
    signal.alarm(SCENARIO_SECONDS_MAX)
    start = time.monotonic()
    try:
        with Client(address, timeout=WAIT_SECONDS) as client:
            client.wait_for_workers(2, timeout=WAIT_SECONDS)
            SCENARIOS[name](client)
        error = None
    except Exception:
        error = traceback.format_exc()
    finally:
        signal.alarm(0)
    print(json.dumps({"name": name, "error": error, "seconds": round(time.monotonic() - start, 3)}), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, expired)
    for wanted in sys.argv[2:] or SCENARIOS:
        run(wanted, sys.argv[1])
