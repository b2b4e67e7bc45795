"""Pickles task specs as Dask's scheduler would send them: one ready sub-frame header, buffers after it."""

import io
import pickle
import struct
from types import FunctionType

import cloudpickle
from distributed.protocol.pickle import dumps as dask_dumps
from distributed.utils import ensure_memoryview

PROTOCOL = 5
# {"pickled-obj": bin, "compression": [nil …], "num-sub-frames": n}, as distributed.protocol.core.dumps packs it.
_HEAD = b"\x83\xabpickled-obj"
_TAIL_WITHOUT_BUFFERS = b"\xabcompression\x90\xaenum-sub-frames\x00"
# This many tasks in a row decide that a graph is better pickled the other way.
_SWITCH_AFTER = 16


def _bin_prefix(size):
    if size < 0x100:
        return _HEAD + struct.pack(">BB", 0xC4, size)
    if size < 0x10000:
        return _HEAD + struct.pack(">BH", 0xC5, size)
    return _HEAD + struct.pack(">BI", 0xC6, size)


def _tail(count, packb):
    return b"\xabcompression" + packb([None] * count) + b"\xaenum-sub-frames" + packb(count)


class _OncePickler(pickle.Pickler):
    """Pickles functions and classes that travel by value a single time a graph, and refers to those bytes."""

    def __init__(self, file, buffer_callback, made):
        super().__init__(file, PROTOCOL, buffer_callback=buffer_callback)
        self._made = made
        self.by_value_count = 0

    def reducer_override(self, obj):
        if isinstance(obj, (FunctionType, type)):
            reduced = self._made.get(id(obj))
            if reduced is None:
                reduced = self._made[id(obj)] = (self._reduce(obj), obj)
            if reduced[0] is not NotImplemented:
                self.by_value_count += 1
            return reduced[0]
        return NotImplemented

    @staticmethod
    def _reduce(obj):
        # Dask's own rule, put to this one object: by reference where plain pickle finds it elsewhere than in
        # __main__, else by value.
        try:
            if b"__main__" not in pickle.dumps(obj, PROTOCOL):
                return NotImplemented
        except Exception:
            # Any failure to find it by reference means by value; what cloudpickle cannot do either is raised.
            pass
        return pickle.loads, (cloudpickle.dumps(obj, PROTOCOL),)


class SpecPickler:
    """One graph's specs. Chooses between plain pickle and pickle-once by what the graph's tasks are like."""

    def __init__(self, packb):
        self._packb = packb
        self._buffers = []
        self._made = {}
        self._file = io.BytesIO()
        self._once = self._new_once()
        self._prefer_once = False
        self._against = 0

    def _new_once(self):
        return _OncePickler(self._file, self._buffers.append, self._made)

    def frames(self, task):
        """The parts of the header frame, and the out-of-band frames after it."""
        self._buffers.clear()
        data = self._dump_once(task) if self._prefer_once else self._dump_plain(task)
        if not self._buffers:
            return (_bin_prefix(len(data)), data, _TAIL_WITHOUT_BUFFERS), ()
        views = [ensure_memoryview(buffer) for buffer in self._buffers]
        return (_bin_prefix(len(data)), data, _tail(len(views), self._packb)), views

    def _dump_plain(self, task):
        try:
            data = pickle.dumps(task, PROTOCOL, buffer_callback=self._buffers.append)
        except Exception:
            # Expected of whatever travels by value; Dask takes its slow route from here, this one a shorter.
            self._against += 1
            if self._against >= _SWITCH_AFTER:
                self._prefer_once, self._against = True, 0
            return self._dump_once(task)
        self._against = 0
        return self._dump_as_dask(task) if b"__main__" in data else data

    def _dump_once(self, task):
        self._buffers.clear()
        once = self._once
        once.by_value_count = 0
        self._file.seek(0)
        self._file.truncate()
        try:
            once.dump(task)
        except Exception:
            # Not picklable this way either: Dask's own pickle knows further ways, and its error is the right one.
            self._once = self._new_once()
            return self._dump_as_dask(task)
        once.clear_memo()
        if self._prefer_once:
            self._against = self._against + 1 if once.by_value_count == 0 else 0
            if self._against >= _SWITCH_AFTER:
                self._prefer_once, self._against = False, 0
        if once.by_value_count > 1:
            # Functions pickled together share their globals on the worker, which bytes made apart would not.
            return self._dump_as_dask(task)
        return self._file.getvalue()

    def _dump_as_dask(self, task):
        self._buffers.clear()
        return dask_dumps(task, buffer_callback=self._buffers.append, protocol=PROTOCOL)
