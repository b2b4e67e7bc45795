"""graphs_client.py ADDRESS: a real Dask client that submits graphs of several kinds, for profiles/bench-clients.mjs.

Reads a JSON line for each submission, {"graph": NAME, "size": N}; prints "ready" once the collection is made, submits
it at the next line, prints "sent" when its update-graph is written to the scheduler, and at the end {"submit_ns",
"sent_ns", "done_ns"}: the call began, that message was written, its last key was known to be done. All on the
machine's monotonic clock. Zero workers compute nothing, so what comes out is of no interest.
"""

import json
import sys
import time

import dask.array as da
from dask import delayed
from dask.datasets import timeseries
from distributed import Client, wait


def inc(x):
    return x + 1


def futures(client, size):
    return lambda: client.map(inc, range(size), pure=False)


def merge(client, size):
    """One layer for each task, as any loop over delayed functions makes them."""
    last = delayed(sum, pure=False)([delayed(inc, pure=False)(i) for i in range(size)])
    return lambda: client.compute(last)


def tree(client, size):
    level = [delayed(inc, pure=False)(i) for i in range(size // 2)]
    while len(level) > 1:
        level = [delayed(max, pure=False)(pair) for pair in zip(level[::2], level[1::2])]
    return lambda: client.compute(level[0])


def array(client, size):
    """A sum over x + x.T: `size` chunks make about four and a half times as many tasks."""
    side = round(size**0.5)
    x = da.random.random((side * 10, side * 10), chunks=(10, 10))
    return lambda: client.compute((x + x.T).sum())


def dataframe(client, size):
    end = f"{2000 + size // 365}-01-01"
    frame = timeseries("2000-01-01", end, freq="6h", partition_freq="1D")
    return lambda: client.compute(frame.groupby("name").x.mean(split_out=max(1, size // 100)))


GRAPHS = {make.__name__: make for make in (futures, merge, tree, array, dataframe)}


def main(address):
    with Client(address) as client:
        stamps = {}
        comm = client.scheduler_comm.comm
        write = comm.write

        async def stamped(messages, *args, **kwargs):
            written = await write(messages, *args, **kwargs)
            if any(message["op"] == "update-graph" for message in messages):
                stamps["sent_ns"] = time.monotonic_ns()
                print("sent", flush=True)
            return written

        comm.write = stamped
        for line in sys.stdin:
            order = json.loads(line)
            submit = GRAPHS[order["graph"]](client, order["size"])
            print("ready", flush=True)
            sys.stdin.readline()
            stamps["submit_ns"] = time.monotonic_ns()
            last = submit()
            wait(last)
            print(json.dumps({**stamps, "done_ns": time.monotonic_ns()}), flush=True)
            del last, submit


main(sys.argv[1])
