"""Ends the quadratic cull of graphs made of many one-task layers.

HighLevelGraph.cull hands every layer all wanted keys, and Layer.cull copies them, also for a layer of one
task. A layer with fewer tasks than there are wanted keys gets only those that it holds; everything else stays
Dask's own work. A layer with as many tasks as wanted keys must see them all: Dask keeps such a layer whole.

Delayed objects bring one layer for each task, so layers of one task are judged here, and the views of a layer are
those of the dict in it: Dask's own go through three calls of Python's for each key.
"""

import inspect


def _small_layer_cull(own, plain):
    def cull(self, keys, all_hlg_keys):
        mapping = self.mapping
        count = len(mapping)
        # 2024.12.1 does not tell.
        if count == 1 and type(self) is plain and not getattr(self, "has_legacy_tasks", True):
            for key, task in mapping.items():
                if key in keys or len(keys) == 1:
                    return self, {key: set(task.dependencies)}
            return self, {}
        if count < len(keys):
            keys = set(mapping.keys() & keys)
        return own(self, keys, all_hlg_keys)

    return cull


def _keys(self):
    return self.mapping.keys()


def _values(self):
    return self.mapping.values()


def _items(self):
    return self.mapping.items()


_VIEWS = {"keys": _keys, "values": _values, "items": _items}


def install():
    """Put the wrapper in where it fits and its self-test agrees with Dask. Says what was done."""
    from dask.highlevelgraph import Layer, MaterializedLayer

    if "cull" in vars(MaterializedLayer):
        return "left alone: MaterializedLayer has a cull of its own"
    if list(inspect.signature(Layer.cull).parameters) != ["self", "keys", "all_hlg_keys"]:
        return "left alone: Layer.cull has other parameters"
    try:
        before = _self_test()
    except ImportError:
        return "left alone: a release without dask's own task classes"
    MaterializedLayer.cull = _small_layer_cull(Layer.cull, MaterializedLayer)
    views = {name: view for name, view in _VIEWS.items() if name not in vars(MaterializedLayer)}
    for name, view in views.items():
        setattr(MaterializedLayer, name, view)
    try:
        agrees = _self_test() == before
    except Exception:
        agrees = False
    if agrees:
        return "installed"
    for name in ("cull", *views):
        delattr(MaterializedLayer, name)
    return "left alone: the self-test differs from Dask's result"


def _self_test():
    """What Dask makes of a few tiny graphs: legacy tasks, as many tasks as wanted keys, annotations."""
    import operator

    from dask._task_spec import Alias, DataNode, Task
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    legacy = {
        "a": MaterializedLayer({"a": 1, "unused": 2}),
        "b": MaterializedLayer({("b", i): (operator.add, "a", i) for i in range(3)}, annotations={"priority": 3}),
        "c": MaterializedLayer({"c": (sum, [("b", 0), ("b", 2)])}),
    }
    modern = {
        "x": MaterializedLayer({"x": DataNode("x", 1)}),
        "y": MaterializedLayer({("y", i): Task(("y", i), operator.add, Alias("x"), i) for i in range(4)}),
        "z": MaterializedLayer({"z": Alias("z", ("y", 1))}, annotations={"retries": 2}),
    }
    seen = []
    for layers, wanted in (
        (legacy, {"c"}),
        (legacy, {"c", "a"}),
        (legacy, {("b", 0), ("b", 1), "elsewhere"}),
        (legacy, {"a", "c", ("b", 0), ("b", 1), ("b", 2)}),
        (modern, {"z"}),
        (modern, {"z", ("y", 0), "x"}),
        (modern, {"x", "z", ("y", 0), ("y", 2), "elsewhere"}),
    ):
        names = list(layers)
        dependencies = {name: set(names[:i][-1:]) for i, name in enumerate(names)}
        if "c" in names:
            dependencies["c"] = {"b"}
        culled = HighLevelGraph(layers, dependencies).cull(wanted)
        flat = {}
        for layer in culled.layers.values():
            flat.update(layer)
        seen.append(
            [sorted((repr(key), repr(task)) for key, task in flat.items())]
            + [
                (name, type(layer).__name__, sorted(map(repr, dict(layer).items())), layer.annotations)
                for name, layer in culled.layers.items()
            ]
            + [sorted((repr(k), sorted(map(repr, v))) for k, v in culled.get_all_dependencies().items())]
        )
    return seen
