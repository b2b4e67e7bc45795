"""The child's main loop: answers one request at a time, and keeps the pipe when a graph fails."""

import gc
import os
import platform
import signal
import sys
import threading
import time

from .pipe import Pipe, own_standard_streams, write_text_map


def main(preload):
    incoming, outgoing = own_standard_streams()
    # Ctrl-C reaches the whole process group; the scheduler alone decides when this child ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    try:
        import cloudpickle
        import dask
        import distributed
        import msgpack

        from . import cull, states
        from .requests import Requests
    except Exception as error:
        write_text_map(outgoing, [("op", "hello"), ("error", f"{type(error).__name__}: {error}"), *_python()])
        return
    cull_state = cull.install()
    states.install()
    pipe = Pipe(incoming, outgoing, msgpack.packb, msgpack.unpackb)
    versions = {module.__name__: module.__version__ for module in (dask, distributed, cloudpickle)}
    requests = Requests(pipe, preload)
    # Most of a large graph's time would go to the collector walking objects that stay.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    hello = {"op": "hello", "pid": os.getpid(), "cull": cull_state, "kinds": requests.kinds, "packages": _packages()}
    pipe.write({**hello, **dict(_python()), **versions})
    requests.serve()


def _packages():
    """The versions that clients compare with their own; none is imported for it."""
    from importlib.metadata import PackageNotFoundError, version

    packages = {"python": "{}.{}.{}.{}.{}".format(*sys.version_info)}
    for name in ("dask", "distributed", "msgpack", "cloudpickle", "tornado", "toolz", "numpy", "pandas", "lz4"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return packages


def _python():
    return [("python", platform.python_version()), ("executable", sys.executable or "python")]


def _end_with_parent():
    """A child in the middle of a graph does not read its pipe; it must not outlive a killed scheduler."""
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, name="rsds-parent", daemon=True).start()
