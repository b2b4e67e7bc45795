"""Graphs of releases before dask's own task classes: opened by the code of that release's scheduler.

`packed`: 2022.12's graphs, whose layers came as msgpack and need the code of their classes. After it, until 2024.11,
graphs are pickled, and their tasks are tuples.
"""

import inspect

import msgpack
from dask.highlevelgraph import HighLevelGraph
from distributed.protocol import pickle as dask_pickle
from distributed.protocol.core import dumps, loads

try:
    from distributed.scheduler import _materialize_graph
except ImportError:
    # 2022.12 opens graphs in methods of the scheduler.
    _materialize_graph = None

UNPACKS = hasattr(HighLevelGraph, "__dask_distributed_unpack__")


def open_packed(header, frames):
    """The layers as the client packed them; what it serialized stays so. `frames` are those behind the message's first."""
    return loads([header, *frames], deserialize=False)


def materialize_packed(packed):
    """All tasks, their dependencies, annotations by type; a task is a dict of pickles, or an object that goes out serialized."""
    unpacked = HighLevelGraph.__dask_distributed_unpack__(packed)
    return unpacked["dsk"], _without_themselves(unpacked["deps"]), unpacked["annotations"]


def materialize(graph, global_annotations, keys):
    """As `materialize_packed`, for releases whose scheduler has a function for it."""
    known = {"graph": graph, "global_annotations": global_annotations, "validate": False, "keys": keys}
    wanted = inspect.signature(_materialize_graph).parameters
    tasks, dependencies, by_type = _materialize_graph(**{name: known[name] for name in wanted})
    return tasks, _without_themselves(dependencies), by_type


def _without_themselves(dependencies):
    for key, wanted in dependencies.items():
        if key in wanted:
            dependencies[key] = set(wanted) - {key}
    return dependencies


class PackedSpecs:
    """The frames in which 2022.12's scheduler sends a task."""

    def frames(self, task):
        """One frame `{function, args, kwargs?}`; or a sub-header, and what it heads."""
        if isinstance(task, dict):
            # `function` first: so the reader tells it from a sub-header.
            call = {name: _pickled(task[name]) for name in ("function", "args", "kwargs") if name in task}
            return [msgpack.packb(call, use_bin_type=True)], ()
        _, header, *frames = dumps({"task": task})
        return [header], [memoryview(frame) for frame in frames]


def _pickled(value):
    """As a worker takes a part of a call: a pickle. What the client or a layer serialized otherwise is opened for that."""
    if isinstance(value, bytes):
        return value
    return dask_pickle.dumps(loads(dumps({"value": value}))["value"], protocol=4)
