"""The host's main loop: an asyncio loop in the main thread, fed by a thread that reads the pipe."""

import asyncio
import inspect
import os
import platform
import signal
import sys
import threading

from rsds_unpacker.pipe import Pipe, own_standard_streams, write_text_map


def main(_arguments):
    incoming, outgoing = own_standard_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import distributed
        import msgpack

        from .facade import SchedulerFacade
        from .link import Link
    except Exception as error:
        pairs = [("op", "hello"), ("error", f"{type(error).__name__}: {error}")]
        pairs += [("python", platform.python_version()), ("executable", sys.executable or "python")]
        write_text_map(outgoing, pairs)
        return
    link = Link(Pipe(incoming, outgoing, msgpack.packb, msgpack.unpackb))
    link.send({"op": "hello", "pid": os.getpid(), "distributed": distributed.__version__})
    asyncio.run(Host(link, SchedulerFacade(link)).serve())


class Host:
    def __init__(self, link, facade):
        self._link = link
        self._facade = facade
        self._feeds = {}
        self._tasks = set()
        self._handlers = {
            "run": self._run,
            "plugin-add": self._plugin_add,
            "plugin-remove": self._plugin_remove,
            "feed": self._feed,
            "write-dump": self._write_dump,
            "workers-to-close": self._group_workers,
        }

    async def serve(self):
        loop = asyncio.get_running_loop()
        over = asyncio.Event()

        def read():
            while (message := self._link.read()) is not None:
                loop.call_soon_threadsafe(self._take, message)
            loop.call_soon_threadsafe(over.set)
            # Code that does not give the loop back must not outlive the scheduler.
            threading.Event().wait(5)
            os._exit(1)

        threading.Thread(target=read, name="rsds-pipe", daemon=True).start()
        await over.wait()
        await self._close_plugins()
        self._facade.clean_up()

    async def _close_plugins(self):
        self._facade.status = type(self._facade.status).closing
        for plugin in list(self._facade.plugins.values()):
            for method in ("before_close", "close"):
                try:
                    await _await(getattr(plugin, method)())
                except Exception as error:
                    print(f"plugin {plugin!r}, {method}: {error!r}", file=sys.stderr)

    def _take(self, message):
        head, sections = message
        if head["op"] == "events":
            self._events(sections)
        elif head["op"] == "feed-stop":
            task = self._feeds.pop(head["id"], None)
            if task is not None:
                task.cancel()
        else:
            self._start(self._answer(head, sections))

    def _start(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _answer(self, head, sections):
        from distributed.core import error_message
        from distributed.protocol.core import loads

        from .link import frames_of

        try:
            fields = loads(sections, deserialize=True) if sections else {}
            reply = await self._handlers[head["op"]](head, fields)
        except Exception as error:
            reply = error_message(error, status="uncaught-error")
        self._link.send({"op": "result", "id": head["id"]}, frames_of(reply, head.get("serializers")))

    # ---- requests

    async def _run(self, head, fields):
        """As distributed.worker.run, of which this is the scheduler's half."""
        from distributed.core import error_message
        from distributed.protocol import pickle, to_serialize
        from distributed.utils import has_arg, iscoroutinefunction

        function = pickle.loads(fields["function"])
        args = pickle.loads(fields["args"]) if fields.get("args") else ()
        kwargs = pickle.loads(fields["kwargs"]) if fields.get("kwargs") else {}
        wait = fields.get("wait", True)
        if not wait and not iscoroutinefunction(function):
            raise ValueError("wait=False needs a coroutine function")
        for name in ("dask_scheduler", "dask_worker"):
            if has_arg(function, name):
                kwargs[name] = self._facade
        try:
            result = function(*args, **kwargs)
            if iscoroutinefunction(function):
                if wait:
                    result = await result
                else:
                    self._start(result)
                    result = None
        except Exception as error:
            return error_message(error)
        return {"status": "OK", "result": to_serialize(result)}

    async def _plugin_add(self, head, fields):
        from distributed.protocol import pickle

        plugin = fields["plugin"]
        if isinstance(plugin, bytes):
            plugin = pickle.loads(plugin)
        name = fields.get("name") or getattr(plugin, "name", None) or f"{type(plugin).__name__}-{id(plugin)}"
        if name in self._facade.plugins:
            if fields.get("idempotent"):
                return None
            self._facade.remove_plugin(name=name)
        await _await(plugin.start(self._facade))
        self._facade.add_plugin(plugin, name=name)
        return None

    async def _plugin_remove(self, head, fields):
        self._facade.remove_plugin(name=fields["name"])

    async def _feed(self, head, fields):
        from dask.utils import parse_timedelta
        from distributed.protocol import pickle

        function, setup, teardown = (
            pickle.loads(fields[name]) if fields.get(name) else None
            for name in ("function", "setup", "teardown")
        )
        interval = parse_timedelta(fields.get("interval", "1s"))
        state = await _await(setup(self._facade)) if setup else None
        self._feeds[head["id"]] = self._start(self._feed_on(head, function, teardown, interval, state))
        return None

    async def _feed_on(self, head, function, teardown, interval, state):
        from distributed.core import error_message

        from .link import frames_of

        arguments = (self._facade,) if state is None else (self._facade, state)
        try:
            while True:
                frames = frames_of(function(*arguments), head.get("serializers"))
                self._link.send({"op": "feed-item", "id": head["id"]}, frames)
                await asyncio.sleep(interval)
        except Exception as error:
            print(f"a feed failed: {error!r}", file=sys.stderr)
            frames = frames_of(error_message(error, status="uncaught-error"))
            self._link.send({"op": "feed-end", "id": head["id"]}, frames)
        finally:
            self._feeds.pop(head["id"], None)
            if teardown is not None:
                teardown(self._facade, state)

    async def _write_dump(self, head, fields):
        """A cluster's state to a URL of fsspec, by Dask's own writer."""
        from distributed.cluster_dump import write_state

        async def state():
            return fields["state"] if "state" in fields else await self._facade.get_cluster_state(
                exclude=fields["exclude"]
            )

        await write_state(state, fields["url"], fields["format"], **fields["storage_options"])

    async def _group_workers(self, head, fields):
        """The group of each worker, by a function of the caller's."""
        from distributed.protocol import pickle

        key = pickle.loads(fields["key"]) if fields["key"] else lambda worker: worker.address
        workers = [self._facade.workers[address] for address in fields["workers"]]
        for plugin in list(self._facade.plugins.values()):
            workers = plugin.valid_workers_downscaling(self._facade, workers)
        groups = []
        names = []
        for worker in workers:
            group = key(worker)
            if group not in groups:
                groups.append(group)
            names.append([worker.address, groups.index(group)])
        return names

    # ---- events

    def _events(self, sections):
        from distributed.protocol.core import loads

        for name, args, kwargs in loads(sections, deserialize=False):
            for plugin in list(self._facade.plugins.values()):
                try:
                    self._event(plugin, name, args, kwargs)
                except Exception as error:
                    print(f"plugin {plugin!r}, {name}: {error!r}", file=sys.stderr)

    def _event(self, plugin, name, args, kwargs):
        from distributed.diagnostics.plugin import SchedulerPlugin

        method = getattr(plugin, name, None)
        if method is None or getattr(type(plugin), name, None) is getattr(SchedulerPlugin, name, None):
            return
        if name in ("transition", "log_event"):
            result = method(*args, **kwargs)
        else:
            result = method(self._facade, *args, **kwargs)
        if inspect.isawaitable(result):
            self._start(_await(result))


async def _await(value):
    return await value if inspect.isawaitable(value) else value
