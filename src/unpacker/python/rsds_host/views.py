"""What of the scheduler's state can be seen from here: each attribute is asked for when it is read."""

import copy
from collections.abc import Mapping

from distributed.core import Status

UNAVAILABLE = (
    "{name!r} of {what} is not available: this code runs in a Python process beside the scheduler, "
    "which is not written in Python and shows only a part of its state"
)


class _View:
    """Facts by name, asked for anew each time: they change while this code runs."""

    _what = ""

    def __init__(self, link, identity):
        self._link = link
        self._identity = identity

    def _facts(self):
        facts = self._link.ask(self._what, id=self._identity)
        if facts is None:
            raise KeyError(self._identity)
        return facts

    def __reduce__(self):
        """Elsewhere nothing can be asked: what leaves this process is the key, the address or the name."""
        return copy.copy, (self._identity,)

    def __eq__(self, other):
        return type(self) is type(other) and self._identity == other._identity

    def __hash__(self):
        return hash(self._identity)

    def __getattr__(self, name):
        if not name.startswith("_"):
            facts = self._facts()
            if name in facts:
                return self._value(name, facts[name])
        raise AttributeError(UNAVAILABLE.format(name=name, what=f"a {self._what}"))

    def _value(self, name, value):
        return value


class TaskView(_View):
    _what = "task"
    _tasks = frozenset({"dependencies", "dependents", "waiters", "waiting_on"})

    @property
    def key(self):
        return self._identity

    @property
    def group(self):
        facts = self._facts()
        return Facts({"name": facts["group_key"], "span_id": facts["span_id"]})

    def _value(self, name, value):
        if name in self._tasks:
            return {TaskView(self._link, key) for key in value}
        if name == "who_has":
            return {WorkerView(self._link, address) for address in value}
        if name == "who_wants":
            return {ClientView(self._link, client) for client in value}
        if name == "processing_on":
            return None if value is None else WorkerView(self._link, value)
        if name == "exception_blame":
            return None if value is None else TaskView(self._link, value)
        return value

    def __repr__(self):
        facts = self._link.ask("task", id=self._identity)
        return f"<TaskState {self._identity!r} {facts['state'] if facts else 'forgotten'}>"


class WorkerView(_View):
    _what = "worker"
    _tasks = frozenset({"processing", "has_what", "actors", "long_running"})

    @property
    def address(self):
        return self._identity

    def identity(self):
        return self._facts()["identity"]

    def _value(self, name, value):
        if name in self._tasks:
            return {TaskView(self._link, key): None for key in value} if name == "has_what" else {
                TaskView(self._link, key) for key in value
            }
        if name == "status":
            return Status.lookup[value]
        if name == "memory":
            return Facts(value)
        return value

    def __repr__(self):
        return f"<WorkerState {self._identity!r}>"


class ClientView(_View):
    _what = "client"

    @property
    def client_key(self):
        return self._identity

    def _value(self, name, value):
        if name == "wants_what":
            return {TaskView(self._link, key) for key in value}
        return value

    def __repr__(self):
        return f"<Client {self._identity!r}>"


class Facts:
    """A dict whose items are read as attributes."""

    def __init__(self, items):
        self.__dict__.update(items)

    def __repr__(self):
        return f"Facts({self.__dict__!r})"


class Views(Mapping):
    """All tasks, workers or clients, by key, address or name; read-only."""

    def __init__(self, link, what, cls):
        self._link = link
        self._what = what
        self._cls = cls

    def __getitem__(self, identity):
        if identity not in self:
            raise KeyError(identity)
        return self._cls(self._link, identity)

    def __contains__(self, identity):
        return self._link.ask(self._what, id=identity) is not None

    def __iter__(self):
        return iter(self._link.ask(f"{self._what}s"))

    def __len__(self):
        return self._link.ask(f"{self._what}-count")

    def __repr__(self):
        return f"<{len(self)} {self._what}s>"
