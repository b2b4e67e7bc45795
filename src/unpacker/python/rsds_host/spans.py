"""`dask_scheduler.extensions["spans"]`: Dask's own classes, filled with what the scheduler knows when they are asked for."""

from bisect import bisect_right
from collections import defaultdict

from .views import UNAVAILABLE

_ACTIVE = ("waiting", "no-worker", "queued", "processing")


class Extensions(dict):
    """Of Dask's extensions only the spans can be seen from here. What users put in stays."""

    def __init__(self, link):
        self._link = link

    def __contains__(self, name):
        return name == "spans" or super().__contains__(name)

    def __missing__(self, name):
        if name == "spans":
            return spans_extension(self._link.ask("spans"))
        raise KeyError(UNAVAILABLE.format(name=name, what="the scheduler's extensions"))

    def get(self, name, default=None):
        return self[name] if name in self else default


class SpanGroup:
    """The tasks of one name in one span, at one time: what of Dask's TaskGroup a span looks at."""

    def __init__(self, span_id, fields):
        self.__dict__.update(fields)
        self.span_id = span_id
        self.duration = sum(self.all_durations.values())

    @property
    def done(self):
        return not any(self.states[state] for state in _ACTIVE)

    def __repr__(self):
        states = ", ".join(f"{state}: {count}" for state, count in sorted(self.states.items()) if count)
        return f"<{self.name}: {states}>"


def spans_extension(fields):
    try:
        from distributed.spans import Span, SpansSchedulerExtension
    except ImportError:
        raise KeyError("this release of distributed has no spans") from None
    history = [tuple(change) for change in fields["threads"]]
    extension = SpansSchedulerExtension.__new__(SpansSchedulerExtension)
    extension.scheduler = None
    extension.spans = {}
    extension.root_spans = []
    extension.spans_search_by_name = defaultdict(list)
    extension.spans_search_by_tag = defaultdict(list)
    for of_span in fields["spans"]:
        parent = extension.spans.get(of_span["parent"])
        span = _span(Span, of_span, parent, history)
        extension.spans[span.id] = span
        (extension.root_spans if parent is None else parent.children).append(span)
        extension.spans_search_by_name[span.name].append(span)
        for tag in span.name:
            extension.spans_search_by_tag[tag].append(span)
    return extension


def _span(cls, fields, parent, history):
    span = cls(tuple(fields["name"]), fields["id"], parent, history)
    span.enqueued = fields["enqueued"]
    span._total_nthreads_offset = max(0, bisect_right([time for time, _ in history], span.enqueued) - 1)
    span.groups.update(SpanGroup(span.id, group) for group in fields["groups"])
    for key, value in fields["metrics"]:
        span._cumulative_worker_metrics[tuple(key)] = value
    for code in fields["code"]:
        if code:
            span._code[code] = None
    metadata = [each for each in fields["metadata"] if each]
    if metadata:
        # Not add_metadata: 2024.12.1 tells two of them apart by where they lie in memory.
        span._metadata = {"collections": [item for each in metadata for item in each.get("collections", ())]}
    return span
