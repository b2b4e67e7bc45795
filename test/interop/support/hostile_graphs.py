"""Graphs that do not unpack, among graphs that do: the error reaches their own futures, others are computed.

    hostile_graphs.py ADDRESS
"""

import sys

from dask.distributed import Client, wait

WAIT_SECONDS = 30


def inc(x):
    return x + 1


class OnUnpickle:
    def __init__(self, statement):
        self.statement = statement

    def __reduce__(self):
        return exec, (self.statement,)


def expect_error(client, statement, *texts):
    future = client.submit(inc, OnUnpickle(statement), pure=False)
    after = client.submit(inc, 1, pure=False)
    wait(future, timeout=WAIT_SECONDS)
    assert future.status == "error", future.status
    error = future.exception()
    chain = f"{error!r} {error.__cause__!r}"
    assert all(text in chain for text in texts), chain
    assert after.result(timeout=WAIT_SECONDS) == 2


def main(address):
    with Client(address, timeout=60) as client, Client(address, timeout=60, set_as_default=False) as other:
        client.wait_for_workers(1, timeout=WAIT_SECONDS)
        running = other.map(inc, range(500))
        expect_error(client, "raise ValueError('not in this environment')", "Error during deserialization", "not in this")
        expect_error(client, "import os; os._exit(7)", "exit code 7")
        expect_error(client, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL")
        assert other.gather(running) == list(range(1, 501))


if __name__ == "__main__":
    main(*sys.argv[1:])
