"""A worker and a client at a scheduler, whose HTTP answers are printed as one JSON line.

    dask_answers.py [ADDRESS PORT]

Without arguments Dask's own scheduler is started in this process; else ADDRESS is asked, whose HTTP is at PORT.
"""

import asyncio
import contextlib
import json
import re
import sys
import urllib.request
from pathlib import Path

import dask
import distributed

PATHS = [
    "/",
    "/health",
    "/info",
    "/info/main/workers.html",
    "/info/main/exceptions.html",
    "/info/main/logs.html",
    "/info/worker/WORKER.html",
    "/info/worker/nobody.html",
    "/info/logs/WORKER.html",
    "/info/call-stacks/WORKER.html",
    "/info/task/one.html",
    "/info/task/nothing.html",
    "/info/call-stack/one.html",
    "/json/counts.json",
    "/json/identity.json",
    "/json/index.html",
    "/individual-plots.json",
    "/api/v1",
    "/api/v1/get_workers",
    "/api/v1/adaptive_target",
    "/metrics",
    "/status",
    "/nothing",
]


class Stay(urllib.request.HTTPRedirectHandler):
    """Redirects are answers, too."""

    def redirect_request(self, *_arguments):
        return None


def ask(port, path):
    opener = urllib.request.build_opener(Stay)
    try:
        reply = opener.open(f"http://127.0.0.1:{port}{path}", timeout=20)
    except urllib.error.HTTPError as error:
        reply = error
    body = reply.read().decode()
    headers = reply.headers
    return {"status": reply.status, "type": headers.get("Content-Type"), "location": headers.get("Location"), "body": body}


def metric_kinds():
    """What distributed.http.scheduler.prometheus names, read from its source: that needs no prometheus_client."""
    folder = Path(distributed.__file__).parent / "http" / "scheduler" / "prometheus"
    text = (folder / "core.py").read_text()
    found = {}
    pattern = r'(Gauge|Counter)MetricFamily\(\s*self\.build_name\("(\w+)"\),(.*?)\n +\)\n'
    for kind, name, rest in re.findall(pattern, text, re.DOTALL):
        unit = re.search(r'unit="(\w+)"', rest)
        full = "dask_scheduler_" + name + (f"_{unit[1]}" if unit else "")
        if kind == "Counter":
            full = full.removesuffix("_total") + "_total"
        found[full] = kind.lower()
    return found


@contextlib.asynccontextmanager
async def scheduler():
    if len(sys.argv) > 2:
        yield sys.argv[1], int(sys.argv[2])
        return
    # Read when the scheduler starts.
    routes = dask.config.get("distributed.scheduler.http.routes")
    dask.config.set({"distributed.scheduler.http.routes": [*routes, "distributed.http.scheduler.api"]})
    async with distributed.Scheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0", dashboard=True) as own:
        yield own.address, own.http_server.port


def fails():
    raise ZeroDivisionError("on purpose")


async def main():
    async with (
        scheduler() as (address, port),
        distributed.Worker(address, nthreads=2, name="alice", dashboard=False) as worker,
        distributed.Client(address, asynchronous=True) as client,
    ):
        held = [client.submit(lambda: 1, key="one"), client.submit(lambda: 2, key=("two", 2))]
        failed = client.submit(fails, key="failed")
        await distributed.wait([*held, failed])
        answers = {}
        for path in PATHS:
            full = path.replace("WORKER", worker.address.replace(":", "%3A").replace("/", "%2F"))
            answers[path] = await asyncio.to_thread(ask, port, full)
        link = client.dashboard_link
        print(json.dumps({"answers": answers, "metrics": metric_kinds(), "link": link, "port": port}))


asyncio.run(main())
