"""What the scheduler may ask for: open a graph, pickle an exception, make a shuffle's run specification."""

import gc
import time
import traceback
from array import array

from distributed.core import error_message
from distributed.utils import import_file

from . import early, metas
from .early import PackedSpecs
from .exceptions import make_exception, make_shuffle_run
from .graphs import Annotations, Structure, materialize, open_graph, open_pickled, unpack_keys
from .preload import Preloader
from .specs import SpecPickler

CHUNK_TASKS = (250, 500, 1000, 2000)
CHUNK_BYTES_MAX = 8 << 20
COLLECT_AFTER_TASKS = 10_000
# Without a request, until the next library is imported.
QUIET_SECONDS = 0.4


class Requests:
    def __init__(self, pipe, preload):
        self._pipe = pipe
        self._packb = pipe._packb
        self._preloader = Preloader(preload)
        self._tasks_since_collect = 0
        self._imported = 0
        try:
            from dask._expr import Expr  # noqa: F401

            self.kinds = ["hlg", "expr"]
        except ImportError:
            self.kinds = ["hlg", "packed"] if early.UNPACKS else ["hlg"]

    def serve(self):
        handlers = {
            "unpack": self._unpack,
            "exception": self._exception,
            "shuffle": self._shuffle,
            "ping": lambda head, _: self._pipe.write({"op": "pong", "id": head["id"]}),
        }
        self._preload()
        while (message := self._pipe.read()) is not None:
            head, sections = message
            handler = handlers.get(head["op"])
            if handler is None:
                # "cancel" or "order" of a graph that failed here meanwhile: its answer is out already.
                continue
            try:
                handler(head, sections)
            except EOFError:
                return
            except BaseException as error:
                # Also SystemExit and the like: a graph is user code and must not end this loop.
                self._send_error(head["id"], error)
            del message, head, sections
            self._tidy()
            self._preload()

    def _tidy(self):
        """Between graphs: what the thresholds put off."""
        if self._tasks_since_collect >= COLLECT_AFTER_TASKS:
            self._tasks_since_collect = 0
            gc.collect()

    def _preload(self):
        """While nothing is asked for: a client's graphs mostly come one soon after another."""
        if self._preloader.done:
            return
        while not self._preloader.done and not self._pipe.has_input(QUIET_SECONDS):
            self._preloader.step()
        if self._preloader.done:
            gc.collect()
            gc.freeze()

    def _send_error(self, request_id, error):
        if not isinstance(error, Exception):
            error = RuntimeError(f"the graph raised {error!r}")
        try:
            message = _error_of(error)
        except Exception as second:
            message = {"exception_text": repr(error), "traceback_text": repr(second)}
        self._pipe.write({"op": "error", "id": request_id, **message})

    def _import(self, paths):
        """Modules that users uploaded, oldest first; one that was uploaded again is loaded again."""
        for path in paths[self._imported :]:
            import_file(path)
            self._imported += 1

    def _unpack(self, head, sections):
        started = time.thread_time()
        self._import(head.get("imports", ()))
        request_id, kind = head["id"], head["kind"]
        keys_section, header, frames = sections[0], sections[1], sections[2 : 2 + head["frame_count"]]
        annotation_parts = sections[2 + head["frame_count"] :]
        keys = unpack_keys(keys_section)
        graph = open_graph(kind, header, frames)
        global_annotations = (open_pickled(annotation_parts[0], annotation_parts[1:]) if annotation_parts else None) or {}
        opened = time.thread_time()
        self._pipe.write({"op": "progress", "id": request_id})
        dsk, dependencies, by_type = materialize(kind, graph, global_annotations, keys)
        del graph
        materialized = time.thread_time()
        self._pipe.write({"op": "progress", "id": request_id})
        # The early releases have put the global ones into those by type.
        annotations = Annotations(
            dsk, global_annotations if dependencies is None else {}, by_type, keep_none=kind == "expr"
        )
        structure = Structure(dsk, dependencies)
        tasks = structure.tasks
        self._tasks_since_collect += len(tasks)
        cpu_seconds = {
            "open": opened - started,
            "materialize": materialized - opened,
            "structure": time.thread_time() - materialized,
        }
        self._send_structure(request_id, structure, annotations, cpu_seconds)
        del dsk, dependencies, by_type, structure
        order = self._await_order(request_id, len(tasks))
        if order is not None:
            self._send_specs(request_id, tasks, order, PackedSpecs() if kind == "packed" else SpecPickler(self._packb))

    def _send_structure(self, request_id, structure, annotations, cpu_seconds):
        head = {
            "op": "structure",
            "id": request_id,
            "task_count": len(structure.tasks),
            "external_count": len(structure.external_keys),
            "annotation_sets": annotations.sets,
            "cpu_seconds": cpu_seconds,
        }
        # The u32 arrays come first, so that each starts at a multiple of four.
        sections = [
            [structure.key_offsets.tobytes()],
            [structure.external_offsets.tobytes()],
            [structure.dependency_offsets.tobytes()],
            [structure.dependencies.tobytes()],
            [structure.data_nodes.tobytes()],
            [structure.barriers.tobytes()],
            [annotations.set_of_task.tobytes()],
            structure.keys,
            structure.external_keys,
        ]
        self._pipe.write(head, sections)

    def _await_order(self, request_id, task_count):
        """The order in which the scheduler will need the specs; None if the graph was given up."""
        while True:
            message = self._pipe.read()
            if message is None:
                raise EOFError("the scheduler closed the pipe")
            head, sections = message
            if head.get("id") != request_id:
                continue
            if head["op"] == "cancel":
                self._pipe.write({"op": "done", "id": request_id})
                return None
            order = array("I")
            if not sections:
                return range(task_count)
            order.frombytes(sections[0])
            return order

    def _send_specs(self, request_id, tasks, order, pickler):
        metas.begin()
        try:
            self._write_specs(request_id, tasks, order, pickler)
        finally:
            metas.end()

    def _write_specs(self, request_id, tasks, order, pickler):
        position, step, started = 0, 0, time.thread_time()
        while position < len(order):
            # Small chunks first: the first tasks can go out while the rest is being pickled.
            limit = CHUNK_TASKS[min(step, len(CHUNK_TASKS) - 1)]
            parts, frame_ends, frame_starts, size = [], array("I"), array("I", [0]), 0
            first = position
            while position < len(order) and position - first < limit and size < CHUNK_BYTES_MAX:
                header, buffers = pickler.frames(tasks[order[position]])
                parts += header
                size += sum(map(len, header))
                frame_ends.append(size)
                for view in buffers:
                    parts.append(view)
                    size += view.nbytes
                    frame_ends.append(size)
                frame_starts.append(len(frame_ends))
                position += 1
            head = {"op": "specs", "id": request_id, "first": first, "count": position - first}
            self._pipe.write(head, [[frame_starts.tobytes()], [frame_ends.tobytes()], parts])
            step += 1
        self._pipe.write({"op": "done", "id": request_id, "cpu_seconds": {"specs": time.thread_time() - started}})

    def _exception(self, head, sections):
        pickled, text = make_exception(head["name"], sections[0], head.get("worker"))
        self._pipe.write({"op": "pickled", "id": head["id"], "text": text}, [[pickled]])

    def _shuffle(self, head, sections):
        parts, worker_for = make_shuffle_run(head, sections, self._packb)
        self._pipe.write({"op": "pickled", "id": head["id"], "text": ""}, [[worker_for], *parts])


def _error_of(error):
    """Exception and traceback as Dask's scheduler would report them; called while `error` is being handled."""
    message = error_message(error)
    pickled = {name: message[name].data for name in ("exception", "traceback") if message[name] is not None}
    text = message["traceback_text"] or "".join(traceback.format_exception(error))
    return {**pickled, "exception_text": message["exception_text"], "traceback_text": text}
