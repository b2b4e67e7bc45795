"""What a client can ask about tasks and workers: each answer is held against what has just been done.

    diagnostics.py ADDRESS
"""

import re
import sys
import tempfile
import time
from pathlib import Path

from dask.distributed import Client, get_task_metadata, get_task_stream, performance_report, wait
from distributed.diagnostics.memory_sampler import MemorySampler


def slow(x):
    time.sleep(x)
    return x


def double(x):
    return 2 * x


def fail(x):
    raise ZeroDivisionError(x)


def task_stream(client):
    with get_task_stream(client) as stream:
        wait(client.map(double, range(5), pure=False))
        wait(client.submit(fail, 1))
    assert len(stream.data) == 6, stream.data
    assert {record["worker"] for record in stream.data} <= set(client.scheduler_info()["workers"])
    for record in stream.data:
        assert abs(record["startstops"][-1]["stop"] - time.time()) < 60
    assert len(client.get_task_stream(count=2)) == 2
    assert client.get_task_stream(start=time.time() + 100) == ()
    assert len(client.get_task_stream(start="1 hour")) == 6


def report(client):
    with tempfile.NamedTemporaryFile(suffix=".html") as file:
        with performance_report(filename=file.name):
            wait(client.map(slow, [0.1, 0.2, 0.21], pure=False))
            wait(client.submit(double, "<script>", key="<b>bad</b>"))
        page = Path(file.name).read_text()
    assert page.startswith("<!DOCTYPE html>") and page.rstrip().endswith("</html>")
    cells = [cell.strip() for cell in re.findall(r"<td>(.*?)</td>", page)]
    row = cells.index("slow")
    assert cells[row + 1] == "3" and 510 <= float(cells[row + 2].removesuffix(" ms")) < 1000, cells[row : row + 5]
    assert int(cells[cells.index("Tasks") + 1]) >= 4
    for address in client.scheduler_info()["workers"]:
        assert address in page
    # What users' code says is text, and nothing is loaded from elsewhere.
    assert "<script" not in page and "<b>bad" not in page
    assert re.search(r"<\w+[^>]*\b(src|href)=", page) is None
    assert "wait(client.map(slow" in page


def metadata(client):
    with get_task_metadata() as tasks:
        future = client.submit(double, 21)
        wait(future)
    assert tasks.state == {future.key: "memory"}
    assert set(tasks.metadata) == {future.key}


def memory(client):
    sampler = MemorySampler()
    with sampler.sample("all", measure="process", interval=0.05):
        time.sleep(0.3)
    samples = sampler.samples["all"]
    assert len(samples) > 2
    assert all(nbytes > 1_000_000 for _, nbytes in samples), samples
    assert samples[0][0] < samples[-1][0]


def running(client):
    future = client.submit(slow, 2)
    while not any(client.processing().values()):
        time.sleep(0.01)
    deadline = time.time() + 5
    while not (stacks := client.call_stack(future)) and time.time() < deadline:
        time.sleep(0.05)
    ((worker, frames),) = stacks.items()
    assert worker in client.scheduler_info()["workers"]
    assert "time.sleep" in "".join(frames[future.key]), frames
    wait(future)
    profile = client.profile(start=time.time() - 60)
    assert profile["identifier"] == "root"
    assert profile["count"] > 0, profile
    assert client.profile(start=time.time() + 60)["count"] == 0


def story(client):
    future = client.submit(double, 1001)
    wait(future)
    changes = [entry[1:4] for entry in client.story(future.key) if entry[0] == "scheduler"]
    assert changes[-1] == (future.key, "processing", "memory"), changes
    assert changes[0] == (future.key, "released", "waiting"), changes


def dump(client):
    future = client.submit(double, 5, key="dumped")
    failed = client.submit(fail, 5, key="failed")
    wait([future, failed])
    state = client.sync(client.scheduler.get_cluster_state, exclude=["run_spec", "suspicious"])
    tasks = state["scheduler"]["tasks"]
    assert tasks["dumped"]["state"] == "memory"
    assert "suspicious" not in tasks["dumped"]
    assert tasks["failed"]["exception_text"] == "ZeroDivisionError(5)"
    workers = set(client.scheduler_info()["workers"])
    assert set(state["workers"]) == set(state["scheduler"]["workers"]) == workers
    states = client.sync(client.scheduler.get_task_prefix_states)
    assert states["dumped"]["memory"] == 1 and states["failed"]["erred"] == 1, states


def main(address):
    with Client(address, timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
        for part in (task_stream, report, metadata, memory, running, story, dump):
            part(client)
            print("ok", part.__name__)


if __name__ == "__main__":
    main(*sys.argv[1:])
