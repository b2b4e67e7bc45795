"""2022.12's P2P shuffles, which that release does where it is asked to.   p2p_early.py ADDRESS

The last part kills a worker: the shuffle at hand fails, as it does in Dask, and the next one works.
"""

import os
import signal
import sys
import time

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.distributed import Client, wait

ROWS = 4000


def frame_of(seed, partitions=8):
    random = np.random.RandomState(seed)
    data = pd.DataFrame({"x": random.randint(0, 100, ROWS), "y": random.random(ROWS)})
    return dd.from_pandas(data, npartitions=partitions)


def sorted_rows(frame):
    return frame.sort_values(["x", "y"]).reset_index(drop=True)


def shuffle(client):
    frame = frame_of(1)
    shuffled = frame.shuffle("x", shuffle="p2p")
    # The same one again, as soon as the first is over.
    for _ in range(2):
        pd.testing.assert_frame_equal(sorted_rows(shuffled.compute()), sorted_rows(frame.compute()))
    seen = set()
    for part in dask.compute(*shuffled.to_delayed()):
        assert not seen & set(part.x)
        seen |= set(part.x)


def operations(client):
    frame, other = frame_of(2), frame_of(3)
    plain = frame.compute()
    with dask.config.set(shuffle="p2p"):
        assert (frame.set_index("x").compute().index.values == np.sort(plain.x.values)).all()
        sums = frame.groupby("x").y.apply(lambda group: group.sum(), meta=("y", "f8")).compute()
        pd.testing.assert_series_equal(sums.sort_index(), plain.groupby("x").y.sum(), check_names=False)
        assert len(frame.merge(other, on="x").compute()) == len(plain.merge(other.compute(), on="x"))


def nothing_left(client):
    shuffled = frame_of(4).shuffle("x", shuffle="p2p", npartitions=20).persist()
    wait(shuffled)
    assert len(shuffled) == ROWS
    del shuffled

    def left(dask_worker):
        return list(dask_worker.extensions["shuffle"].shuffles)

    deadline = time.time() + 10
    while any(client.run(left).values()):
        assert time.time() < deadline, "workers still have parts of a shuffle"
        time.sleep(0.1)


def slow(part):
    time.sleep(0.3)
    return part


def worker_killed(client):
    _, pid = sorted(client.run(os.getpid).items())[0]
    future = client.compute(frame_of(5).map_partitions(slow).shuffle("x", shuffle="p2p"))
    time.sleep(0.9)
    os.kill(pid, signal.SIGKILL)
    try:
        # It may have been over already.
        assert len(future.result(timeout=60)) == ROWS
    except RuntimeError as error:
        assert "shuffle" in str(error), error
    assert len(frame_of(6).shuffle("x", shuffle="p2p").compute()) == ROWS


def main(address):
    with Client(address, timeout=20) as client:
        client.wait_for_workers(2, timeout=60)
        for part in (shuffle, operations, nothing_left, worker_killed):
            part(client)
            print("ok", part.__name__)


if __name__ == "__main__":
    main(*sys.argv[1:])
