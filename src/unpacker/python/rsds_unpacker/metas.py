"""Pickles the small pandas objects that many tasks of a graph share a single time.

dask.dataframe gives the tasks of a layer one empty frame that describes its result. Pickling it anew costs 50 µs a
task; its bytes, made once, are copied into each pickle instead, and open to the same frame.
"""

import copyreg
import pickle
import sys

PROTOCOL = 5
# Descriptions are empty or have an example row or two. Data goes by Dask's own way, out of band.
ROWS_MAX = 2

_made = {}
_installed = False
_pickling_specs = False


class _OwnWay(pickle.Pickler):
    """Without the entries of copyreg, of which ours is one."""

    dispatch_table = {}


class _Bytes(bytearray):
    def write(self, data):
        self += data


def _own_bytes(obj):
    file = _Bytes()
    _OwnWay(file, PROTOCOL).dump(obj)
    return bytes(file)


def _reduce(obj):
    if not _pickling_specs or len(obj) > ROWS_MAX:
        return obj.__reduce_ex__(PROTOCOL)
    seen = _made.get(id(obj))
    if seen is None:
        # The object is kept with its entry, so that no other one gets its id.
        _made[id(obj)] = [obj, None]
        return obj.__reduce_ex__(PROTOCOL)
    if seen[1] is None:
        seen[1] = _shared(obj)
    return seen[1] or obj.__reduce_ex__(PROTOCOL)


def _shared(obj):
    """What opens to the object, or () where it must go its own way: functions and classes by value in it."""
    try:
        data = _own_bytes(obj)
    except Exception:
        # Whatever plain pickle cannot do, Dask's further ways may.
        return ()
    return () if b"__main__" in data else (pickle.loads, (data,))


def begin():
    """Before the specs of a graph: pandas may have been imported since the last one."""
    global _installed, _pickling_specs
    _pickling_specs = True
    pandas = sys.modules.get("pandas")
    if _installed or pandas is None or not hasattr(pandas, "Series"):
        return
    for cls in (pandas.DataFrame, pandas.Series):
        copyreg.pickle(cls, _reduce)
    _installed = True


def end():
    """After them: the objects of a graph are not kept."""
    global _pickling_specs
    _pickling_specs = False
    _made.clear()
