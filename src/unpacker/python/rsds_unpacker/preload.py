"""Imports the large libraries in the background: a first dataframe graph would otherwise wait seconds."""

import importlib
import sys
import threading
import time

PAUSE_SECONDS_MAX = 5.0


class Preloader:
    """Imports in a thread of its own, which steps aside while a graph is being opened.

    Each import of a submodule passes `find_spec`; there the thread waits until the graph is done. It does not
    wait while the main thread is importing something itself, which may need a lock that this thread holds.
    """

    def __init__(self, names):
        self._names = names
        self._idle = threading.Event()
        self._idle.set()
        self._main = threading.main_thread().ident
        self._thread = threading.Thread(target=self._run, name="rsds-preload", daemon=True)
        self.done = False

    def start(self):
        sys.meta_path.insert(0, self)
        self._thread.start()

    def busy(self):
        self._idle.clear()

    def idle(self):
        self._idle.set()

    def find_spec(self, name, path=None, target=None):
        if threading.get_ident() == self._thread.ident:
            # Bounded: the main thread may wait for a third thread that waits for this one's import.
            until = time.monotonic() + PAUSE_SECONDS_MAX
            while not self._idle.is_set() and not self._main_imports() and time.monotonic() < until:
                self._idle.wait(0.005)
        return None

    def _main_imports(self):
        frame = sys._current_frames().get(self._main)
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            frame = frame.f_back
        return False

    def _run(self):
        for name in self._names:
            # Holds no import lock here, so it can wait as long as the graph takes.
            self._idle.wait()
            try:
                importlib.import_module(name)
            except Exception as error:
                # Not installed, or broken in this environment: a graph that needs it will say so itself.
                if not isinstance(error, ImportError):
                    print(f"rsds unpacker: import {name}: {error!r}", file=sys.stderr)
        sys.meta_path.remove(self)
        self.done = True
