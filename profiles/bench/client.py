"""client.py ADDRESS: a real Dask client for profiles/bench/dask.mjs.

Reads a JSON line for each submission, {"workload": "merge" | "tree", "size": N}; prints "ready" once the graph is
made, submits it at the next line, and prints {"tasks", "wall_s"} when its last task is done. Zero workers compute
nothing, so what comes out is of no interest.
"""

import json
import sys
import time
from operator import add

from dask import delayed
from distributed import Client, wait


def merge(client, size):
    def submit():
        parts = client.map(str, range(size), pure=False)
        return client.submit(len, parts, pure=False)

    return submit, size + 1


def tree(client, exponent):
    layer = [delayed(str, pure=False)(i) for i in range(2 ** (exponent - 1))]
    while len(layer) > 1:
        layer = [delayed(add, pure=False)(a, b) for a, b in zip(layer[::2], layer[1::2])]
    return lambda: client.compute(layer[0]), 2**exponent - 1


def main(address):
    with Client(address) as client:
        for line in sys.stdin:
            order = json.loads(line)
            submit, tasks = {"merge": merge, "tree": tree}[order["workload"]](client, order["size"])
            print("ready", flush=True)
            sys.stdin.readline()
            start = time.perf_counter()
            last = submit()
            wait(last)
            print(json.dumps({"tasks": tasks, "wall_s": time.perf_counter() - start}), flush=True)
            del last, submit


main(sys.argv[1])
