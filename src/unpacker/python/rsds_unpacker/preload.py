"""Imports the large libraries ahead of need: a first dataframe graph would otherwise wait seconds."""

import importlib
import sys


class Preloader:
    """Imports one library at a time, between requests, in the thread that opens graphs.

    Not in a thread of its own: where two threads import libraries that import one another, Python breaks the deadlock by
    handing out a half-made module, and the graph at hand fails. A graph that comes meanwhile waits for one library.
    """

    def __init__(self, names):
        self._names = list(names)

    @property
    def done(self):
        return not self._names

    def step(self):
        name = self._names.pop(0)
        try:
            importlib.import_module(name)
        except Exception as error:
            # Not installed, or broken in this environment: a graph that needs it will say so itself.
            if not isinstance(error, ImportError):
                print(f"rsds unpacker: import {name}: {error!r}", file=sys.stderr)
