"""From a client's pickle to tasks: deserialize, materialize, convert, cull, as Dask's scheduler does it."""

import numbers
import operator
from array import array
from collections import defaultdict

import msgpack
from dask.utils import ensure_dict
from distributed.protocol import pickle as dask_pickle
from distributed.protocol.compression import decompress
from distributed.protocol.serialize import merge_and_deserialize, msgpack_decode_default, msgpack_encode_default

from . import early

try:
    from dask._task_spec import DataNode, convert_legacy_graph
except ImportError:
    # A release whose tasks are tuples, or not yet all of its own classes.
    DataNode = convert_legacy_graph = None

_OPEN_FAILED = (
    "Error during deserialization of the task graph. This frequently occurs if the Scheduler and Client have "
    "different environments. For more information, see "
    "https://docs.dask.org/en/stable/deployment-considerations.html#consistent-software-environments"
)
_UNPACK_OPTIONS = {"use_list": False, "raw": False, "strict_map_key": False}


def open_graph(kind, header, frames):
    """The object that the client pickled: an expression, or a HighLevelGraph."""
    try:
        if kind == "packed":
            return early.open_packed(header, frames)
        sub_header = msgpack.unpackb(header, object_hook=msgpack_decode_default, **_UNPACK_OPTIONS)
        if "compression" in sub_header:
            frames = decompress(sub_header, frames)
        graph = merge_and_deserialize(sub_header, frames)
        return graph.data if kind == "hlg" else graph
    except Exception as error:
        raise RuntimeError(_OPEN_FAILED) from error


def open_pickled(header, frames):
    """What a `__Pickled__` sub-frame holds."""
    sub_header = msgpack.unpackb(header, **_UNPACK_OPTIONS)
    if "compression" in sub_header:
        frames = decompress(sub_header, frames)
    return dask_pickle.loads(sub_header["pickled-obj"], buffers=frames)


def unpack_keys(data):
    return set(msgpack.unpackb(data, **_UNPACK_OPTIONS))


def materialize(kind, graph, global_annotations, keys):
    """All tasks that `keys` need, their dependencies where tasks do not tell them, and annotations by type and key."""
    if kind == "packed" or convert_legacy_graph is None:
        if kind == "packed":
            tasks, dependencies, by_type = early.materialize_packed(graph)
        else:
            tasks, dependencies, by_type = early.materialize(graph, global_annotations, keys)
        return _needed(tasks, dependencies.get, keys), dependencies, by_type
    by_type = defaultdict(dict)
    if kind == "hlg":
        dsk = ensure_dict(graph)
        for layer in graph.layers.values():
            for name, value in (layer.annotations or {}).items():
                by_type[name].update({key: value(key) if callable(value) else value for key in layer})
    elif type(graph) is dict and not graph:
        # A client that recreates an error locally sends an empty dict in place of an expression.
        dsk = {}
    else:
        dsk = graph.__dask_graph__()
        for name, values in graph.__dask_annotations__().items():
            by_type[name].update(values)
    tasks = convert_legacy_graph(dsk)
    return _needed(tasks, lambda key: tasks[key].dependencies, keys), None, by_type


def _needed(tasks, dependencies_of, keys):
    """The tasks that `keys` need, in their order."""
    seen = set()
    work = list(keys)
    while work:
        key = work.pop()
        if key in seen or key not in tasks:
            continue
        seen.add(key)
        dependencies = dependencies_of(key)
        if dependencies:
            work.extend(dependencies)
    if len(seen) == len(tasks):
        return tasks
    return {key: task for key, task in tasks.items() if key in seen}


def _plain_key_part(value):
    """numpy integers and the like inside tuple keys: equal to the plain integer, also as a dict key."""
    return operator.index(value)


def pack_keys(keys):
    """Keys as msgpack, one after another, and the position after each."""
    pack = msgpack.Packer(default=_plain_key_part, use_bin_type=True).pack
    packed = [pack(key) for key in keys]
    offsets, position = array("I", [0]), 0
    for one in packed:
        position += len(one)
        offsets.append(position)
    return packed, offsets


class Structure:
    """A graph's shape as flat arrays; the tasks in the order that the arrays count."""

    def __init__(self, dsk, dependencies_of=None):
        """`dependencies_of`: sets of keys by key; None: each task knows its own."""
        self.tasks = list(dsk.values())
        index = {key: i for i, key in enumerate(dsk)}
        external = {}
        self.dependency_offsets = offsets = array("I", [0])
        self.dependencies = dependencies = array("I")
        self.data_nodes = array("I")
        self.barriers = array("I")
        for i, (key, task) in enumerate(dsk.items()):
            wanted = task.dependencies if dependencies_of is None else dependencies_of.get(key)
            if wanted:
                # Sorted: the order of a Python set depends on the hash seed, and a run should be repeatable.
                dependencies.extend(
                    sorted(
                        [
                            index[dep] if dep in index else external.setdefault(dep, len(index) + len(external))
                            for dep in wanted
                        ]
                    )
                )
            offsets.append(len(dependencies))
            if DataNode is not None and isinstance(task, DataNode):
                self.data_nodes.append(i)
            elif type(task).__name__ == "P2PBarrierTask":
                self.barriers.append(i)
        self.keys, self.key_offsets = pack_keys(dsk)
        self.external_keys, self.external_offsets = pack_keys(external)


class Annotations:
    """Which tasks carry which annotations; equal ones are told once."""

    def __init__(self, dsk, global_annotations, by_type, keep_none):
        self.sets = []
        self.set_of_task = array("I")
        self._known = {}
        by_type = {name: values for name, values in by_type.items() if values}
        if not by_type and not global_annotations:
            return
        dynamic = {name: value for name, value in global_annotations.items() if callable(value)}
        if not by_type and not dynamic:
            number = self._number(_without_none(global_annotations, keep_none))
            self.set_of_task = array("I", [number]) * len(dsk)
            return
        for key in dsk:
            of_task = {name: value(key) if name in dynamic else value for name, value in global_annotations.items()}
            of_task = _without_none(of_task, keep_none)
            for name, values in by_type.items():
                if (value := values.get(key)) is not None:
                    of_task[name] = value
                elif key in values and not keep_none:
                    # 2024.12.1 lets a layer's None take a global annotation away.
                    of_task.pop(name, None)
            self.set_of_task.append(self._number(of_task))

    def _number(self, annotations):
        """0 for none, else one more than the place in `sets`."""
        if not annotations:
            return 0
        packed = {name: _pack_value(value) for name, value in annotations.items()}
        identity = tuple(packed.items())
        if identity not in self._known:
            self.sets.append(_describe(annotations, packed))
            self._known[identity] = len(self.sets)
        return self._known[identity]


def _without_none(annotations, keep_none):
    # 2024.12.1 passes over a global annotation of None, later releases send it on.
    return {name: value for name, value in annotations.items() if keep_none or value is not None}


def _pack_value(value):
    """(msgpack, None), or (None, pickle) of what msgpack cannot hold."""
    try:
        return msgpack.packb(value, default=msgpack_encode_default, use_bin_type=True), None
    except (TypeError, ValueError, OverflowError):
        return None, dask_pickle.dumps(value)


def _describe(annotations, packed):
    """The meaning that the scheduler gives to some annotations; the map itself goes to the worker as it is."""
    described = {
        "annotations": [[name, data] for name, (data, _) in packed.items() if data is not None],
        "pickled": [[name, data] for name, (_, data) in packed.items() if data is not None],
    }
    for name, value in annotations.items():
        if name in ("restrictions", "workers"):
            described["workers"] = list(value) if isinstance(value, (list, tuple, set)) else [value]
        elif name in ("loose_restrictions", "allow_other_workers"):
            described["allow_other_workers"] = bool(value)
        elif name == "resources":
            _expect(isinstance(value, dict), name, value, "a dict")
            described["resources"] = {str(kind): _plain_number(name, amount) for kind, amount in value.items()}
        elif name == "priority":
            described["priority"] = _plain_number(name, value)
        elif name == "retries":
            _expect(isinstance(value, int), name, value, "an int")
            described["retries"] = value
    return described


def _plain_number(name, value):
    """Also numpy's numbers, which msgpack does not know."""
    _expect(isinstance(value, numbers.Real), name, value, "a number")
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _expect(fits, name, value, what):
    if not fits:
        raise TypeError(f"the annotation {name!r} must be {what}, not {value!r}")
