"""The two-way pipe: the scheduler asks this process, and code that runs here asks the scheduler back."""

import itertools
import threading

from distributed.protocol.core import dumps, loads


class SchedulerGone(Exception):
    """The scheduler has ended: nothing can be asked any more."""


def frames_of(message, serializers=None):
    """A message in the frames that any Dask peer writes; what cannot be serialized becomes an error message."""
    frames = dumps(message, serializers=serializers, on_error="message", context={"compression": None})
    return [[frame] for frame in frames]


class Link:
    """Writes from any thread; one thread reads. An answer wakes the thread that asked."""

    def __init__(self, pipe):
        self._pipe = pipe
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._waiting = {}
        self._open = True

    def send(self, head, frames=()):
        with self._lock:
            self._pipe.write(head, frames)

    def read(self):
        """The next message that is no answer; None at the end."""
        while (message := self._pipe.read()) is not None:
            head, sections = message
            if head["op"] != "answer":
                return message
            self._answered(head, sections)
        self._open = False
        for waiting in list(self._waiting.values()):
            waiting(None, None)
        return None

    def _answered(self, head, sections):
        waiting = self._waiting.pop(head["id"], None)
        if waiting is not None:
            waiting(head, sections)

    def ask_later(self, what, fields, on_answer):
        """`on_answer(value, error)` is called from the reading thread."""
        identity = next(self._ids)

        def answered(head, sections):
            if head is None:
                on_answer(None, SchedulerGone("the scheduler has ended"))
                return
            value = loads(sections, deserialize=False) if sections else None
            on_answer(value, None if head["ok"] else value)

        if not self._open:
            raise SchedulerGone("the scheduler has ended")
        self._waiting[identity] = answered
        self.send({"op": "ask", "id": identity, "what": what}, frames_of(fields))

    def ask(self, what, **fields):
        """Blocks this thread until the scheduler has answered."""
        done = threading.Event()
        result = []

        def on_answer(value, error):
            result.append((value, error))
            done.set()

        self.ask_later(what, fields, on_answer)
        done.wait()
        return value_or_raise(*result[0])


def value_or_raise(value, error):
    if error is None:
        return value
    if isinstance(error, Exception):
        raise error
    from distributed.core import clean_exception

    _, exception, traceback = clean_exception(error["exception"], error.get("traceback"))
    raise exception.with_traceback(traceback)
