"""Users' Python that runs beside the scheduler: functions, plugins, feeds, uploaded modules.

    python_in_scheduler.py ADDRESS
"""

import asyncio
import os
import sys
import tempfile
import time

from dask.distributed import Client, wait
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.diagnostics.progressbar import TextProgressBar


def double(x):
    return 2 * x


def fail(x):
    raise ZeroDivisionError(x)


def until(condition):
    deadline = time.time() + 10
    while not (result := condition()):
        assert time.time() < deadline, "not in time"
        time.sleep(0.05)
    return result


class Counter(SchedulerPlugin):
    name = "counter"

    def start(self, scheduler):
        self.scheduler = scheduler
        scheduler.counted = {"graphs": 0, "finished": [], "erred": [], "closed": False}

    def update_graph(self, scheduler, *, keys, tasks, **kwargs):
        scheduler.counted["graphs"] += 1
        assert set(keys) <= set(tasks), (keys, tasks)

    def transition(self, key, start, finish, *args, stimulus_id, **kwargs):
        if finish == "memory":
            assert kwargs["worker"] in self.scheduler.workers, kwargs
            assert kwargs["nbytes"] > 0
            self.scheduler.counted["finished"].append(key)
        elif finish == "erred":
            assert kwargs["exception"] is not None
            self.scheduler.counted["erred"].append(key)


def functions(client):
    assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.address) == client.scheduler.address
    assert client.run_on_scheduler(os.getpid) != os.getpid()
    try:
        client.run_on_scheduler(fail, 3)
    except ZeroDivisionError as error:
        assert error.args == (3,)
    else:
        raise AssertionError("no error")

    async def ask_workers(dask_scheduler):
        await asyncio.sleep(0.01)
        return await dask_scheduler.broadcast(msg={"op": "identity"})

    assert set(client.run_on_scheduler(ask_workers)) == set(client.scheduler_info()["workers"])
    try:
        client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_log)
    except AttributeError as error:
        assert "'transition_log'" in str(error), error
    else:
        raise AssertionError("no error")


def state(client):
    x = client.submit(double, 4, key="x")
    y = client.submit(double, x, key="y")
    wait(y)

    def look(dask_scheduler):
        task = dask_scheduler.tasks["y"]
        (worker,) = task.who_has
        assert dask_scheduler.tasks["x"] in task.dependencies
        assert task in worker.has_what
        assert worker.nthreads == dask_scheduler.workers[worker.address].nthreads
        (client,) = task.who_wants
        dask_scheduler.set_metadata(["seen", "y"], task.state)
        return task.state, client.client_key, len(dask_scheduler.tasks)

    assert client.run_on_scheduler(look) == ("memory", client.id, 2)
    assert client.get_metadata(["seen", "y"]) == "memory"


def plugins(client):
    client.register_plugin(Counter())
    future = client.submit(double, 7)
    wait([future, client.submit(fail, 8, key="fails")])

    def counted(dask_scheduler):
        return dask_scheduler.counted

    until(lambda: client.run_on_scheduler(counted)["erred"])
    result = client.run_on_scheduler(counted)
    assert result["graphs"] == 2
    assert result["finished"] == [future.key]
    assert result["erred"] == ["fails"]
    client.unregister_scheduler_plugin("counter")
    wait(client.submit(double, 9))
    assert client.run_on_scheduler(counted)["graphs"] == 2


def feeds(client):
    futures = client.map(double, range(20, 30))
    bar = TextProgressBar(futures, interval=0.01, complete=True, loop=client.loop)
    assert bar._last_response == {"all": 10, "remaining": 0, "status": "finished"}, bar._last_response


def modules(client):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rsds_uploaded.py")
        with open(path, "w") as file:
            file.write("def triple(x):\n    return 3 * x\n")
        client.upload_file(path)
        sys.path.insert(0, folder)
        import rsds_uploaded

        assert client.submit(rsds_uploaded.triple, 5).result() == 15


def main(address):
    with Client(address, timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
        for part in (functions, state, plugins, feeds, modules):
            part(client)
            print("ok", part.__name__)


if __name__ == "__main__":
    main(*sys.argv[1:])
