"""A client that stops reading right after it has submitted much.   silent_client.py ADDRESS TASKS

It stops its own process; whoever wakes it gets "all done" once every result has been reported.
"""

import os
import signal
import sys
import time

from dask.distributed import Client, wait


def inc(x):
    return x + 1


def main(address, tasks):
    with Client(address, timeout=60) as client:
        futures = client.map(inc, range(tasks), pure=False)
        # The graph is written by then, and only a part of the reports can have come.
        client.loop.add_callback(lambda: None)
        time.sleep(1)
        print("stopping", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        wait(futures, timeout=120)
        print("all done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
