"""Spans of a real client's: on the workers, and in what code beside the scheduler sees of them.   spans.py ADDRESS"""

import sys
import time

import dask
from dask import delayed
from dask.distributed import Client, get_client, span, wait
from distributed.diagnostics.plugin import SchedulerPlugin

EXECUTE = "execute"


def inc(x):
    return x + 1


def slow(x):
    time.sleep(0.1)
    return x


def until(condition):
    deadline = time.time() + 15
    while not (result := condition()):
        assert time.time() < deadline, "not in time"
        time.sleep(0.1)
    return result


def looked(client, look, *args):
    return client.run_on_scheduler(lambda *args, dask_scheduler: look(dask_scheduler, *args), *args)


def on_workers(client):
    """What a worker's tasks know, and what they submit themselves."""
    with span("foo") as foo:
        x = client.submit(inc, 1, key="x")
        assert client.submit(dask.get_annotations, pure=False).result() == {"span": {"name": ("foo",), "ids": (foo,)}}
    y = client.submit(inc, 2, key="y")
    wait([x, y])

    def span_ids(dask_worker):
        return {key: task.span_id for key, task in dask_worker.state.tasks.items() if key in ("x", "y")}

    found = {key: id for ids in client.run(span_ids).values() for key, id in ids.items()}
    assert found == {"x": foo, "y": None}, found
    assert looked(client, lambda s: [s.tasks[key].group.span_id for key in ("x", "y")]) == [foo, None]


def nested(client):
    x = delayed(inc)(1)
    with span("workflow") as workflow:
        with span("p1") as p1:
            y = x + 1
        with span("p2", "p3") as p3:
            z = y * 2
    with dask.config.set({"optimization.fuse.active": False}):
        assert client.compute(z, sync=True) == 6

    def look(s):
        extension = s.extensions["spans"]
        root = extension.spans[workflow]
        names = {sp.name for sp in root.traverse_spans()}
        return names, extension.spans[p1].parent.id, extension.spans[p3].annotation, root.done, sorted(root.states)

    names, parent, annotation, done, states = looked(client, look)
    assert names == {("workflow",), ("workflow", "p1"), ("workflow", "p2"), ("workflow", "p2", "p3")}, names
    assert parent == workflow
    assert annotation["name"] == ("workflow", "p2", "p3") and annotation["ids"][0] == workflow
    assert done and states[0] == "erred"


def figures(client):
    """Of tasks that are gone: durations, sizes, states; and what the workers measured, with the next heartbeats."""
    began = time.time()
    with span("figures") as id:
        wait(client.map(slow, range(4), pure=False))
    until(lambda: not looked(client, lambda s: [key for key in s.tasks if str(key).startswith("slow")]))

    def look(s):
        sp = s.extensions["spans"].spans[id]
        (group,) = sp.groups
        return {
            "group": group.name,
            "forgotten": sp.states["forgotten"],
            "duration": sp.all_durations["compute"],
            "nbytes": sp.nbytes_total,
            "times": (sp.enqueued, sp.start, sp.stop),
            "done": sp.done,
            "threads": sp.nthreads_intervals[-1][2],
            "metrics": sp.cumulative_worker_metrics,
            "collections": sp.metadata["collections"],
        }

    got = looked(client, look)
    assert (got["group"], got["forgotten"], got["done"], got["threads"]) == ("slow", 4, True, 4), got
    assert got["duration"] > 0.39 and got["nbytes"] == 4 * 28, got
    enqueued, start, stop = got["times"]
    assert began <= enqueued <= start < stop <= time.time() + 0.5, got
    assert got["collections"] == [{"type": "Future"}], got
    asleep = (EXECUTE, "slow", "thread-noncpu", "seconds")
    until(lambda: looked(client, look)["metrics"].get(asleep, 0) > 0.39)
    metrics = looked(client, look)["metrics"]
    assert (EXECUTE, "N/A", "idle or other spans", "seconds") in metrics


def default(client):
    """Tasks without a span: the workers' measurements, and the tasks that there are."""
    futures = client.map(slow, range(3), pure=False)
    wait(futures)

    def look(s):
        (sp,) = s.extensions["spans"].spans_search_by_name["default",]
        return sp.annotation, sp.cumulative_worker_metrics, {group.name: group.states for group in sp.groups}

    until(lambda: looked(client, look)[1].get((EXECUTE, "slow", "thread-noncpu", "seconds"), 0) > 0.29)
    annotation, _, groups = looked(client, look)
    assert annotation is None
    assert groups["slow"]["memory"] == 3, groups


def tags(client):
    with span("outer") as outer:
        client.submit(inc, 10).result()
        with span("inner") as inner:
            client.submit(inc, 11).result()
    with span("inner") as other:
        client.submit(inc, 12).result()

    def look(s, *names):
        extension = s.extensions["spans"]
        merged = extension.merge_by_tags(*names)
        return {sp.id for sp in extension.find_by_tags(*names)}, len(list(merged.traverse_groups()))

    assert looked(client, look, "outer") == ({outer}, 2)
    assert looked(client, look, "inner") == ({inner, other}, 2)
    assert looked(client, look, "outer", "inner") == ({outer, other}, 3)


def from_tasks(client):
    def submit():
        with span("deep"):
            return get_client().submit(inc, 20).result()

    with span("task") as id:
        assert client.submit(submit).result() == 21
    names = looked(client, lambda s: [sp.name for sp in s.extensions["spans"].spans[id].traverse_spans()])
    assert names == [("task",), ("task", "deep")], names


class Annotations(SchedulerPlugin):
    name = "annotations"

    def start(self, scheduler):
        scheduler.annotated = []

    def update_graph(self, scheduler, *, annotations, **kwargs):
        scheduler.annotated.append(annotations)


def plugins(client):
    client.register_plugin(Annotations())
    with span("plugged") as id, dask.annotate(priority=3):
        client.submit(inc, 30, key="p").result()
    client.submit(inc, 31, key="q").result()
    seen = until(lambda: (found := looked(client, lambda s: s.annotated)) and len(found) == 2 and found)
    assert seen[0]["span"] == {"p": {"name": ("plugged",), "ids": (id,)}}, seen
    assert seen[0]["priority"] == {"p": 3} and seen[1] == {}, seen
    client.unregister_scheduler_plugin("annotations")


def main(address):
    with Client(address, timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
        for part in (on_workers, nested, figures, default, tags, from_tasks, plugins):
            part(client)
            print("ok", part.__name__)


if __name__ == "__main__":
    main(*sys.argv[1:])
