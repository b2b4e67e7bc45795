"""Real update-graph messages of the installed dask release, and the check of specs that were made of them.

    graphs.py make CASES      writes the messages, with what Dask's own scheduler makes of them
    graphs.py bench CASES     writes large graphs for profiles/bench-unpacker.mjs
    graphs.py check RESULTS   runs graphs from unpacked specs, and compares with Dask's results
"""

import asyncio
import contextlib
import functools
import operator
import sys
import time

import dask
import dask.array as da
import dask.bag as db
import distributed.scheduler as scheduler_module
import msgpack
import numpy as np
import pandas as pd
from dask import delayed
from dask._task_spec import DataNode, execute_graph
from dask.datasets import timeseries
from distributed import Client, Scheduler
from distributed.protocol import pickle as dask_pickle
from distributed.protocol.core import dumps
from distributed.protocol.serialize import ToPickle

OPTIONS = {"use_list": False, "raw": False, "strict_map_key": False}
OFFSET = 1


def inc(x):
    return x + OFFSET


def twice(function, x):
    return function(function(x))


def add(x, y):
    return x + y


class Point:
    def __init__(self, x):
        self.x = x

    def __repr__(self):
        return f"Point({self.x})"

    def moved(self, by):
        return Point(self.x + inc(by))


class DiesOnUnpickle:
    def __init__(self, statement):
        self.statement = statement

    def __reduce__(self):
        return exec, (self.statement,)


def move(point, by):
    return point.moved(by)


def contents(frame, i):
    return type(frame).__name__, str(frame.dtypes), repr(frame.to_dict()), i


async def cases(client):
    yield "submit", client.submit(inc, 1)
    yield "submit-options", client.submit(
        inc, 2, workers=["alice", "tcp://127.0.0.1:9"], retries=3, priority=7, allow_other_workers=True, resources={"GPU": 1}
    )
    yield "map-main", client.map(inc, range(3000))
    yield "map-importable", client.map(operator.neg, range(300))
    one, two = client.submit(inc, 10), client.submit(inc, 20)
    yield "futures-as-arguments", client.submit(add, one, two)
    yield "closure", client.map(lambda x, y=5: x * y + OFFSET, range(40))
    yield "function-of-function", client.map(functools.partial(twice, inc), range(40))
    yield "instances", client.map(move, [Point(i) for i in range(30)], range(30))
    frames = [pd.DataFrame({"a": pd.Series([], dtype="int64")}), pd.DataFrame({"a": [1, 2, 3]}), pd.Series([Point(1)])]
    yield "shared-frames", client.compute([delayed(contents)(frame, i) for frame in frames for i in range(4)])
    yield "mixed", client.compute(delayed(sum)([delayed(operator.neg)(i) for i in range(30)] + [delayed(inc)(i) for i in range(30)]))
    yield "array", client.compute((da.ones((60, 60), chunks=10) + da.ones((60, 60), chunks=10).T).sum())
    yield "array-persist", client.persist(da.arange(100, chunks=10) * 2)
    yield "buffers", client.submit(np.sum, np.arange(100_000))
    yield "bag", client.compute(db.from_sequence(range(42), npartitions=5).map(inc).sum())
    yield "collections", client.compute([delayed(inc)(i) for i in range(200)])
    leaves = [delayed(inc)(i) for i in range(64)]
    while len(leaves) > 1:
        leaves = [delayed(add)(a, b) for a, b in zip(leaves[::2], leaves[1::2])]
    yield "tree", client.compute(leaves[0])
    legacy = {"a": 1, "b": "a", "c": (inc, "b"), "unused": (inc, 5), ("t", np.int64(1)): (add, "c", "a")}
    yield "low-level", client.get(legacy, [("t", 1)], sync=False)
    frame = timeseries(end="2000-01-05", freq="1h", seed=1)
    yield "groupby", client.compute(frame.groupby("name").x.mean())
    with dask.annotate(priority=lambda key: len(str(key)) % 3, retries=2, note={1, 2}, odd=1j):
        annotated = delayed(inc)(3)
    yield "layer-annotations", client.compute(annotated, optimize_graph=False)
    with dask.annotate(note=None):
        without = delayed(inc)(4)
    with dask.annotate(note=1, retries=4, priority=np.int64(3)):
        yield "note-of-none", client.compute(without, optimize_graph=False)
    with dask.annotate(workers=lambda key: "bob", priority=5):
        yield "global-annotations", client.map(inc, range(6))


async def large_cases(client):
    yield "map, by value", client.map(inc, range(10_000))
    yield "map, importable", client.map(operator.neg, range(10_000))
    yield "merge of delayed", client.compute(delayed(sum)([delayed(inc)(i) for i in range(10_000)]))
    leaves = [delayed(operator.neg)(i) for i in range(5_000)]
    while len(leaves) > 1:
        leaves = [delayed(operator.add)(*pair) for pair in zip(leaves[::2], leaves[1::2])] + leaves[len(leaves) & ~1 :]
    yield "tree", client.compute(leaves[0])
    x = da.ones((4500, 4500), chunks=100)
    yield "array", client.compute((x + x.T).sum())
    frame = timeseries(end="2006-10-31", freq="1d", partition_freq="1d", seed=1)
    yield "dataframe", client.compute(frame.groupby("name").x.mean())


async def bench(path):
    async with captured_client() as (client, captured):
        out = []
        async for name, _ in large_cases(client):
            request = request_of(last_graph(captured))
            out.append({"name": name, **request, "dask_us": dask_cost(request)})
    with open(path, "wb") as file:
        file.write(msgpack.packb(out))


def dask_cost(request):
    """CPU microseconds a task that Dask's scheduler spends on the same: open, materialize, cull; pickle."""
    keys = set(msgpack.unpackb(request["keys"], **OPTIONS))
    best = []
    for _ in range(3):
        header = msgpack.unpackb(request["graph"]["header"], **OPTIONS)
        start = time.process_time()
        graph = scheduler_module.deserialize(header, request["graph"]["frames"])
        if request["kind"] == "expr":
            dsk = scheduler_module._materialize_graph(graph, validate=False)[0]
        else:
            dsk = scheduler_module._materialize_graph(graph.data, {}, False, keys)[0]
        dsk = scheduler_module._cull(dsk, keys)
        opened = time.process_time()
        for task in dsk.values():
            dumps({"run_spec": ToPickle(task)})
        best.append((opened - start, time.process_time() - opened))
    return [min(column) / len(dsk) * 1e6 for column in zip(*best)]


@contextlib.asynccontextmanager
async def captured_client():
    """A client whose graphs its scheduler does not see: some end the process that opens them."""
    captured = []
    async with Scheduler(dashboard_address="127.0.0.1:0", host="127.0.0.1", port=0) as s:
        async with Client(s.address, asynchronous=True, set_as_default=False) as client:
            client._send_to_scheduler = lambda message: captured.append(message) if "keys" in message else None
            yield client, captured


async def make(path):
    async with captured_client() as (client, captured):
        out = []
        async for name, _ in cases(client):
            out.append({"name": name, **describe(last_graph(captured))})
        out.append({"name": "shuffle", **describe(shuffle(client, captured))})
        for name, statement in FAULTS.items():
            client.submit(inc, DiesOnUnpickle(statement), key=name)
            out.append({"name": name, **request_of(last_graph(captured))})
    if hasattr(scheduler_module, "LLGExpr"):
        out.append({"name": "empty", **request_of({**EMPTY, "expr_ser": serialized({})})})
    with open(path, "wb") as file:
        file.write(msgpack.packb(out))


def last_graph(captured):
    graphs = [message for message in captured if message["op"] == "update-graph"]
    captured.clear()
    return graphs[-1]


FAULTS = {
    "raises": "raise ValueError('no such module here')",
    "dies": "import os; os._exit(3)",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "hangs": "import time; time.sleep(600)",
    "prints": "print('hello from user code'); import sys; sys.stdout.flush(); 1 / 0",
    "exits": "import sys; sys.exit(5)",
}
EMPTY = {"keys": set(), "annotations": None}


def shuffle(client, captured):
    with dask.config.set({"dataframe.shuffle.method": "p2p"}):
        client.compute(timeseries(end="2000-01-05", freq="1h").shuffle("name").x.sum())
    return last_graph(captured)


def serialized(value):
    from distributed.protocol import serialize, to_serialize
    from distributed.protocol.serialize import Serialized

    return Serialized(*serialize(to_serialize(value), on_error="raise"))


def sub_frame(value):
    header, *frames = dumps({"value": value})[1:]
    return {"header": header, "frames": [bytes(frame) for frame in frames]}


def request_of(message):
    if "expr_ser" in message:
        kind, graph = "expr", sub_frame(message["expr_ser"])
    else:
        kind = "hlg"
        frames = [bytes(frame) for frame in message["graph_frames"]]
        graph = {"header": msgpack.packb(message["graph_header"]), "frames": frames}
    return {
        "kind": kind,
        "graph": graph,
        "annotations": None if message["annotations"] is None else sub_frame(message["annotations"]),
        "keys": msgpack.packb(list(message["keys"])),
    }


def describe(message):
    """The request, and what Dask's own scheduler makes of the message."""
    request = request_of(message)
    header, frames = request["graph"]["header"], request["graph"]["frames"]
    header = msgpack.unpackb(header, **OPTIONS)
    keys = set(message["keys"])
    graph = scheduler_module.deserialize(header, frames)
    annotations = message["annotations"].data or {}
    if request["kind"] == "expr":
        dsk, by_type = scheduler_module._materialize_graph(graph, validate=False)
    else:
        dsk, _, by_type = scheduler_module._materialize_graph(graph.data, annotations, False, keys)
    dsk = scheduler_module._cull(dsk, keys)
    tasks = [[key, sorted(task.dependencies, key=repr)] for key, task in dsk.items()]
    meaning = {}
    for key in dsk:
        of_task = {} if request["kind"] == "hlg" else {n: v(key) if callable(v) else v for n, v in annotations.items()}
        of_task.update({name: values[key] for name, values in by_type.items() if values.get(key) is not None})
        if of_task:
            meaning[msgpack.packb(key, default=operator.index).hex()] = sorted(of_task)
    return {
        **request,
        "tasks": msgpack.packb(tasks, default=operator.index),
        "task_annotations": meaning,
        "values": values_of(dsk, keys),
    }


def values_of(dsk, keys):
    if any(type(task).__name__ == "P2PBarrierTask" for task in dsk.values()):
        return None
    known = {task for node in dsk.values() for task in node.dependencies if task not in dsk}
    dsk = {**dsk, **{key: DataNode(key, 100) for key in known}}
    values = execute_graph(dsk, keys=list(keys))
    return {repr(key): repr(values[key]) for key in keys}


def spec_of(frames):
    header = msgpack.unpackb(frames[0], **OPTIONS)
    assert list(header) == ["pickled-obj", "compression", "num-sub-frames"], header.keys()
    assert header["num-sub-frames"] == len(frames) - 1 == len(header["compression"])
    return dask_pickle.loads(header["pickled-obj"], buffers=frames[1:])


def check(path):
    """Prints one line for each difference; run as another program than `make`, as a worker would be."""
    with open(path, "rb") as file:
        results = msgpack.unpackb(file.read(), **OPTIONS)
    for result in results:
        specs = [spec_of(frames) for frames in result["specs"]]
        keys = [msgpack.unpackb(key, **OPTIONS) for key in result["keys"]]
        for key, spec in zip(keys, specs, strict=True):
            if spec.key != key:
                print(f"{result['name']}: {key!r} has the spec of {spec.key!r}")
        if result["values"] is not None:
            wanted = set(msgpack.unpackb(result["wanted"], **OPTIONS))
            got = values_of(dict(zip(keys, specs, strict=True)), wanted)
            if got != result["values"]:
                print(f"{result['name']}: {got} instead of {result['values']}")
    print("checked", len(results))


if __name__ == "__main__":
    command, path = sys.argv[1:]
    if command == "make":
        asyncio.run(make(path))
    elif command == "bench":
        asyncio.run(bench(path))
    else:
        # As on a worker, __main__ has none of the functions that the graphs were made of.
        for name in ("inc", "add", "twice", "move", "contents", "Point", "OFFSET"):
            del globals()[name]
        check(path)
