"""actors.py ADDRESS: actors live on one worker, keep their state, and are gone with it."""

import os
import sys

from distributed import Client, wait
from distributed.actor import Actor


class Counter:
    n = 0

    def increment(self, by=1):
        self.n += by
        return self.n

    def end(self):
        os._exit(1)


def use(counter):
    return counter.increment(10).result()


def main(address):
    with Client(address) as client:
        client.wait_for_workers(2)
        counter = client.submit(Counter, actor=True).result()
        assert isinstance(counter, Actor), type(counter)
        assert [counter.increment().result() for _ in range(3)] == [1, 2, 3]
        # From tasks wherever they run: one state.
        future = client.submit(Counter, actor=True, pure=False)
        used = client.gather([client.submit(use, future, pure=False) for _ in range(4)])
        assert sorted(used) == [10, 20, 30, 40], used
        many = [one.result() for one in client.map(lambda _: Counter(), range(4), actors=True)]
        assert all(isinstance(one, Actor) for one in many), many
        # Its worker dies: it cannot be made again with its state.
        lost = client.submit(Counter, actor=True, pure=False)
        wait(lost)
        try:
            lost.result().end().result(timeout=10)
        except Exception:
            pass
        wait(client.submit(lambda: 1, pure=False))
        assert lost.status == "error", lost.status
        assert "Actor" in str(lost.exception(timeout=10)), lost.exception()
    print("OK")


main(sys.argv[1])
