"""A client restarts the cluster, and goes on.   restarts.py ADDRESS"""

import os
import sys
import time

from dask.distributed import Client, wait

WAIT_SECONDS = 30


def main(address):
    with Client(address, timeout=WAIT_SECONDS) as client:
        client.wait_for_workers(2, timeout=WAIT_SECONDS)
        before = set(client.run(os.getpid).values())
        kept = client.submit(len, "abc")
        wait(kept, timeout=WAIT_SECONDS)
        slow = client.map(time.sleep, [60, 61, 62, 63])
        # A graph goes another way than the restart, and one that comes later than it is of the time after it, as with Dask.
        deadline = time.monotonic() + WAIT_SECONDS
        while not any(client.processing().values()):
            assert time.monotonic() < deadline, "the slow tasks do not run"
            time.sleep(0.05)
        client.restart(timeout=WAIT_SECONDS)
        client.wait_for_workers(2, timeout=WAIT_SECONDS)
        after = set(client.run(os.getpid).values())
        assert len(after) == 2 and not before & after, (before, after)
        assert kept.cancelled() and all(future.cancelled() for future in slow)
        assert client.submit(sum, [1, 2, 3]).result(timeout=WAIT_SECONDS) == 6
        assert client.gather(client.map(len, ["a", "bc"])) == [1, 2]


if __name__ == "__main__":
    main(*sys.argv[1:])
