"""Takes the state of a task for its pickle in one call in C.

Task.__getstate__ looks its slots up again for each task, then each slot by name in Python: half of the time that
pickling a task takes. The slots of a class do not change, and operator.attrgetter answers the same tuple.
"""

import operator


def _make_getstate():
    getters = {}

    def getstate(self):
        cls = type(self)
        getter = getters.get(cls)
        if getter is None:
            getter = getters[cls] = operator.attrgetter(*cls.get_all_slots())
        return getter(self)

    return getstate


def install():
    """Put it in where it fits and its self-test agrees with Dask. Says what was done."""
    try:
        from dask._task_spec import Task
    except ImportError:
        return "left alone: a release without dask's own task classes"

    own = vars(Task).get("__getstate__")
    if own is None or not hasattr(Task, "get_all_slots"):
        return "left alone: Task is pickled in another way"
    getstate = _make_getstate()
    try:
        agrees = all(_same(getstate(task), own(task)) for task in _samples())
    except Exception:
        agrees = False
    if not agrees:
        return "left alone: the self-test differs from Dask's result"
    Task.__getstate__ = getstate
    return "installed"


def _same(one, other):
    return type(one) is type(other) and len(one) == len(other) and all(a is b for a, b in zip(one, other))


def _samples():
    from dask._task_spec import Alias, Dict, List, Task

    inner = Task("i", sum, Alias("x"), start=1)
    return [inner, Task("o", max, inner, 2), List(inner, 3), Dict({"a": inner})]
