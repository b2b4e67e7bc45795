"""`dask_scheduler`, as users' functions and plugins get it."""

import asyncio
import contextlib
import functools
import importlib
import os
import pickle
import shutil
import sys
import tempfile

from distributed.core import Status
from distributed.utils import import_file

from .link import value_or_raise
from .spans import Extensions
from .views import UNAVAILABLE, ClientView, Facts, TaskView, Views, WorkerView

# Methods of Dask's scheduler that are requests here: the name, the operation, and the names of positional arguments.
_SYNC = {
    "identity": ("identity", ("n_workers",)),
    "get_events": ("events", ("topic",)),
    "log_event": ("log_event", ("topic", "msg")),
    "get_metadata": ("get_metadata", ("keys", "default")),
    "set_metadata": ("set_metadata", ("keys", "value")),
    "get_ncores": ("ncores", ("workers",)),
    "get_ncores_running": ("ncores_running", ("workers",)),
    "get_processing": ("processing", ("workers",)),
    "get_who_has": ("who_has", ("keys",)),
    "get_has_what": ("has_what", ("workers",)),
    "get_nbytes": ("nbytes", ("keys", "summary")),
    "get_task_status": ("get_task_status", ("keys",)),
    "get_task_prefix_states": ("get_task_prefix_states", ()),
    "get_task_stream": ("get_task_stream", ("start", "stop", "count")),
    "get_logs": ("get_logs", ("start", "n", "timestamps")),
    "adaptive_target": ("adaptive_target", ("target_duration",)),
    "workers_to_close": ("workers_to_close", ("memory_ratio", "n", "key", "minimum", "target", "attribute")),
    "set_restrictions": ("set_restrictions", ("worker",)),
    "add_resources": ("set_resources", ("worker", "resources")),
}
_ASYNC = {
    "broadcast": ("broadcast", ()),
    "gather": ("gather", ("keys",)),
    "scatter": ("scatter", ("data", "workers", "client", "broadcast", "timeout")),
    "replicate": ("replicate", ("keys", "n", "workers")),
    "rebalance": ("rebalance", ("keys", "workers")),
    "retire_workers": ("retire_workers", ("workers",)),
    "restart": ("restart", ()),
    "restart_workers": ("restart_workers", ("workers",)),
    "remove_worker": ("unregister", ("address", "stimulus_id")),
    "close": ("terminate", ()),
    "get_call_stack": ("call_stack", ("keys",)),
    "get_profile": ("profile", ()),
    "get_cluster_state": ("get_cluster_state", ("exclude",)),
    "get_story": ("get_story", ("keys_or_stimuli",)),
    "get_worker_logs": ("worker_logs", ("n", "workers", "nanny")),
    "benchmark_hardware": ("benchmark_hardware", ()),
    "register_worker_plugin": ("register_worker_plugin", ("comm", "plugin", "name", "idempotent")),
    "unregister_worker_plugin": ("unregister_worker_plugin", ("comm", "name")),
    "register_nanny_plugin": ("register_nanny_plugin", ("comm", "plugin", "name", "idempotent")),
    "unregister_nanny_plugin": ("unregister_nanny_plugin", ("comm", "name")),
}


def _fields(names, args, kwargs):
    fields = dict(zip(names, args))
    fields.update(kwargs)
    return {name: pickle.dumps(value) if callable(value) else value for name, value in fields.items()}


class NoMonitor:
    """In place of Dask's SystemMonitor, which watches the scheduler's Python process: nothing is sampled here."""

    count = 0


class SchedulerFacade:
    """The part of Dask's Scheduler that code in another process can have. Attributes that users set stay set."""

    status = Status.running

    def __init__(self, link):
        self._link = link
        self._directory = None
        self.plugins = {}
        self.extensions = Extensions(link)
        self.monitor = NoMonitor()
        self.tasks = Views(link, "task", TaskView)
        self.workers = Views(link, "worker", WorkerView)
        self.clients = Views(link, "client", ClientView)

    def __repr__(self):
        return f"<Scheduler {self.address!r}, workers: {len(self.workers)}, tasks: {len(self.tasks)}>"

    def __getattr__(self, name):
        if name in _SYNC:
            return functools.partial(self._call, *_SYNC[name])
        if name in _ASYNC:
            return functools.partial(self._call_async, *_ASYNC[name])
        raise AttributeError(UNAVAILABLE.format(name=name, what="the scheduler"))

    def _call(self, op, names, *args, **kwargs):
        return self._link.ask("call", op=op, fields=_fields(names, args, kwargs))

    async def _call_async(self, op, names, *args, **kwargs):
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def on_answer(value, error):
            loop.call_soon_threadsafe(lambda: future.done() or future.set_result((value, error)))

        self._link.ask_later("call", {"op": op, "fields": _fields(names, args, kwargs)}, on_answer)
        return value_or_raise(*await future)

    # ---- state

    @property
    def address(self):
        return self._link.ask("server")["address"]

    @property
    def id(self):
        return self._link.ask("server")["id"]

    @property
    def total_nthreads(self):
        return self.identity(n_workers=0)["total_threads"]

    @property
    def total_memory(self):
        return self.identity(n_workers=0)["total_memory"]

    @property
    def memory(self):
        return Facts(self._link.ask("memory"))

    @property
    def task_metadata(self):
        return self._link.ask("metadata")

    @property
    def computations(self):
        return [Computation(fields) for fields in self._link.ask("computations")]

    @property
    def running(self):
        return {worker for worker in self.workers.values() if worker.status == Status.running}

    @property
    def loop(self):
        from tornado.ioloop import IOLoop

        return IOLoop.current()

    io_loop = loop

    def story(self, *keys_or_stimuli):
        return self._call("get_story", (), keys_or_stimuli=list(keys_or_stimuli))

    # ---- plugins

    def add_plugin(self, plugin, *, idempotent=False, name=None, **kwargs):
        from distributed.diagnostics.plugin import SchedulerPlugin

        name = name or getattr(plugin, "name", None) or f"{type(plugin).__name__}-{id(plugin)}"
        if name in self.plugins:
            if idempotent:
                return
            raise ValueError(f"plugin {name!r} is registered already")
        if not isinstance(plugin, SchedulerPlugin):
            raise TypeError(f"a scheduler plugin must be a SchedulerPlugin, not {type(plugin).__name__}")
        self.plugins[name] = plugin
        self._follow()

    def remove_plugin(self, name=None):
        if name not in self.plugins:
            raise ValueError(f"Could not find plugin {name!r} among the current scheduler plugins")
        del self.plugins[name]
        self._follow()

    def _follow(self):
        """Only what some plugin has a method of its own for is sent here."""
        from distributed.diagnostics.plugin import SchedulerPlugin

        events = ("transition", "update_graph", "add_worker", "remove_worker", "add_client", "remove_client")
        wanted = [
            event
            for event in (*events, "restart", "log_event")
            if any(
                getattr(type(plugin), event, None) is not getattr(SchedulerPlugin, event, None)
                for plugin in self.plugins.values()
            )
        ]
        self._link.ask("follow", events=wanted)

    # ---- files

    @property
    def local_directory(self):
        if self._directory is None:
            self._directory = tempfile.mkdtemp(prefix="rsds-scheduler-")
        return self._directory

    async def upload_file(self, filename, data, load=True):
        """Makes a module importable here, and where graphs are opened."""
        path = os.path.join(self.local_directory, os.path.basename(filename))
        with open(path, "wb") as file:
            file.write(data if isinstance(data, bytes) else data.encode())
        if load:
            import_file(path)
            importlib.invalidate_caches()
            self._link.ask("import", path=path)
        return {"status": "OK", "nbytes": len(data)}

    def clean_up(self):
        if self._directory is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(self._directory)
            if self._directory in sys.path:
                sys.path.remove(self._directory)


class Computation:
    """The graphs that were submitted while one ran on, with the code that led to them."""

    def __init__(self, fields):
        self.id = fields["id"]
        self.start = fields["start"]
        self.code = []
        for code in fields["code"]:
            if code and code not in self.code:
                self.code.append(code)

    def __repr__(self):
        return f"<Computation {self.id}: {len(self.code)} pieces of code>"
