"""Orders graphs with the installed dask/order.py, in which every set keeps the order of insertion.

Stock Python iterates sets by hash, so that its order differs from run to run; with ordered sets it is one
function of the graph, and another implementation can be compared with it.

stdin: one graph a line: {"keys": [key, ...], "deps": [[id, ...], ...], "literals": [id, ...]?}
  key: a string, or ["i", "12"], ["f", "1.5"], ["b", "hex"], ["t", [key, ...]], ["n"]
  ids from len(deps) on are keys that the graph does not hold.
stdout: one line for each: {"texts": [str(key), ...], "order": [priority, ...]} or {"texts": …, "error": "…"}
"""

import ast
import inspect
import json
import sys

import dask.core
import dask.order
from dask._task_spec import DataNode, Task


class OrderedSet(dict):
    def __init__(self, items=()):
        super().__init__(dict.fromkeys(items))

    def add(self, item):
        self.setdefault(item)

    def update(self, *others):
        for other in others:
            for item in other:
                self.setdefault(item)

    def remove(self, item):
        del self[item]

    def discard(self, item):
        dict.pop(self, item, None)

    def pop(self):
        item = next(iter(self))
        del self[item]
        return item

    def difference(self, other):
        return type(self)(item for item in self if item not in other)

    __sub__ = difference

    def __and__(self, other):
        return type(self)(item for item in self if item in other)

    def issubset(self, other):
        return all(item in other for item in self)


class OrderedFrozenSet(OrderedSet):
    def __hash__(self):
        return hash(frozenset(self))


class WithOrderedSets(ast.NodeTransformer):
    NAMES = {"set": "OrderedSet", "frozenset": "OrderedFrozenSet"}

    def visit_Name(self, node):
        node.id = self.NAMES.get(node.id, node.id)
        return node

    def visit_Set(self, node):
        self.generic_visit(node)
        items = ast.List(elts=node.elts, ctx=ast.Load())
        return self._call(items)

    def visit_SetComp(self, node):
        self.generic_visit(node)
        return self._call(ast.GeneratorExp(elt=node.elt, generators=node.generators))

    @staticmethod
    def _call(argument):
        return ast.Call(func=ast.Name(id="OrderedSet", ctx=ast.Load()), args=[argument], keywords=[])


def execute(thing, name, namespace):
    tree = WithOrderedSets().visit(ast.parse(inspect.getsource(thing)))
    code = compile(ast.fix_missing_locations(tree), inspect.getfile(thing), "exec")
    namespace |= {"OrderedSet": OrderedSet, "OrderedFrozenSet": OrderedFrozenSet}
    exec(code, namespace)
    return namespace[name]


def ordered_order():
    reverse_dict = execute(dask.core.reverse_dict, "reverse_dict", dict(vars(dask.core)))
    namespace = {"__name__": "ordered_order"}
    order = execute(dask.order, "order", namespace)
    namespace["reverse_dict"] = reverse_dict
    return order


class Literal:
    """Not a task to dask, and yet with dependencies: as a list of keys in a graph of the older kind."""

    def __init__(self, dependencies):
        self.dependencies = dependencies


def key_of(spec):
    if isinstance(spec, str):
        return spec
    kind, *rest = spec
    if kind == "t":
        return tuple(key_of(item) for item in rest[0])
    return {"i": int, "f": float, "b": bytes.fromhex, "n": lambda: None}[kind](*rest)


def node_of(key, dependencies, literal):
    dependencies = OrderedFrozenSet(dependencies)
    if literal:
        return Literal(dependencies) if dependencies else DataNode(key, 1)
    task = Task(key, int)
    task._dependencies = dependencies
    return task


def answer(order, graph):
    keys = [key_of(spec) for spec in graph["keys"]]
    result = {"texts": [str(key) for key in keys]}
    literals = set(graph.get("literals", ()))
    dsk = {}
    for i, dependencies in enumerate(graph["deps"]):
        dsk[keys[i]] = node_of(keys[i], (keys[d] for d in dependencies), i in literals)
    try:
        priorities = order(dsk)
        result["order"] = [priorities[keys[i]] for i in range(len(graph["deps"]))]
    except Exception as error:
        result["error"] = f"{type(error).__name__}: {error}"
    return result


def main():
    order = ordered_order()
    for line in sys.stdin:
        print(json.dumps(answer(order, json.loads(line))), flush=True)


main()
