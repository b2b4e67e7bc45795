"""Where results lie, which workers stay, and what becomes of tasks that cannot run.

    cluster_control.py ADDRESS
"""

import os
import signal
import sys
import time

import cloudpickle
import distributed
from dask.distributed import Client, wait
from distributed.scheduler import KilledWorker

MODERN = distributed.__version__ >= "2026"
if MODERN:
    from distributed.client import FutureCancelledError
    from distributed.scheduler import NoValidWorkerError


def until(condition, what):
    deadline = time.time() + 20
    while not (result := condition()):
        assert time.time() < deadline, what
        time.sleep(0.05)
    return result


def block(size):
    return bytes(size)


def hold(client):
    """10 results of 1 MB each, all on one worker."""
    (address, *_) = sorted(client.scheduler_info()["workers"])
    futures = client.map(block, [1_000_000 + i for i in range(10)], workers=[address], pure=False)
    wait(futures)
    return address, futures


def counts(client):
    return sorted(len(keys) for keys in client.has_what().values())


def replicas(client):
    address, futures = hold(client)
    client.amm.stop()
    assert not client.amm.running()
    client.replicate(futures)
    assert {len(holders) for holders in client.who_has(futures).values()} == {3}
    client.amm.run_once()
    until(lambda: counts(client) and sum(counts(client)) == 10, "copies are dropped")
    client.amm.start()
    assert client.amm.running()
    assert client.gather(futures) == [bytes(1_000_000 + i) for i in range(10)]


def rebalance(client):
    """The environment has workers compared by what they hold, and no least size."""
    address, futures = hold(client)
    assert counts(client) == [0, 0, 10]
    client.rebalance()
    assert max(counts(client)) <= 4 and sum(counts(client)) == 10, counts(client)
    assert client.gather(futures) == [bytes(1_000_000 + i) for i in range(10)]


def retire(client):
    address, futures = hold(client)
    retired = client.retire_workers([address], close_workers=True)
    assert list(retired) == [address], retired
    assert retired[address]["nthreads"] == 1
    until(lambda: address not in client.scheduler_info()["workers"], "the worker goes")
    assert client.gather(futures) == [bytes(1_000_000 + i) for i in range(10)]
    assert not any("lost" in str(message) for _, message in client.get_events("all"))


def scaling(client):
    """Two workers are left."""
    scheduler = client.scheduler
    until(lambda: client.sync(scheduler.adaptive_target) == 0, "nothing is needed")
    futures = client.map(time.sleep, [0.5] * 40, pure=False)
    until(lambda: client.sync(scheduler.adaptive_target, target_duration="1s") > 2, "work asks for workers")
    client.cancel(futures)
    until(lambda: client.sync(scheduler.adaptive_target) == 0, "idleness asks for none")
    workers = set(client.scheduler_info()["workers"])
    assert set(client.sync(scheduler.workers_to_close, n=1)) < workers
    assert not client.sync(scheduler.workers_to_close, minimum=2)
    names = client.sync(scheduler.workers_to_close, n=2, key=cloudpickle.dumps(lambda worker: worker.host), attribute="name")
    assert len(names) == 2, names


def never(client):
    """The environment has tasks fail that wait for a second."""
    future = client.submit(block, 1, workers=["nobody"], key="nowhere")
    if MODERN:
        error = future.exception(timeout=60)
        assert isinstance(error, NoValidWorkerError), repr(error)
        assert error.task == "nowhere" and error.worker_restrictions == {"nobody"}
    else:
        assert "Error" in type(future.exception(timeout=60)).__name__


def words(client):
    if not MODERN:
        return
    with Client(client.scheduler.address) as other:
        future = client.submit(time.sleep, 4, key="long")
        same = other.submit(time.sleep, 4, key="long")
        until(lambda: any(other.processing().values()), "it runs")
        # A client's graphs are taken in their order: the scheduler knows that the other one wants it, too.
        assert other.submit(sum, [1, 2], key="after").result(timeout=60) == 3
        client.cancel([future], force=True, reason="enough", msg="it took too long")
        try:
            same.result(timeout=10)
        except FutureCancelledError as error:
            assert error.reason == "enough" and error.msg == "it took too long"
        else:
            raise AssertionError("not cancelled")


def killed(client):
    """Each worker in turn runs it and dies; the environment allows one."""
    future = client.submit(_die, key="deadly")
    error = future.exception(timeout=30)
    assert isinstance(error, KilledWorker), repr(error)
    assert error.task == "deadly" and error.allowed_failures == 1
    assert error.last_worker.address.startswith("tcp://"), error.last_worker
    assert "deadly" in str(error)


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def main(address):
    with Client(address, timeout=60) as client:
        client.wait_for_workers(3, timeout=60)
        for part in (replicas, rebalance, retire, scaling, never, words, killed):
            start = time.time()
            part(client)
            print("ok", part.__name__, f"{time.time() - start:.1f}s")


if __name__ == "__main__":
    main(*sys.argv[1:])
