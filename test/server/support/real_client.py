"""What a real client can ask of a scheduler without computing anything: data, registration, administration."""

import asyncio
import gc
import sys

from distributed import Client, WorkerPlugin, wait


class Mark(WorkerPlugin):
    name = "mark"

    def setup(self, worker):
        worker.marked = True

    def teardown(self, worker):
        worker.marked = False


def is_marked(dask_worker):
    return getattr(dask_worker, "marked", None)


def fail():
    raise ZeroDivisionError("on purpose")


async def raises(kind, awaitable, text=""):
    try:
        await awaitable
    except kind as error:
        assert text in str(error), str(error)
        return
    raise AssertionError(f"{kind} was not raised")


async def data(client):
    futures = await client.scatter([1, "two", {"three": 3}], direct=False)
    await wait(futures)
    assert await client.gather(futures, direct=False) == [1, "two", {"three": 3}]
    named = await client.scatter({"x": 10, "y": 20}, direct=False, broadcast=True)
    assert await client.gather(named, direct=False) == {"x": 10, "y": 20}
    who_has = await client.who_has(list(named.values()))
    assert {len(workers) for workers in who_has.values()} == {2}, who_has
    has_what = await client.has_what()
    assert len(has_what) == 2
    nbytes = await client.nbytes(summary=False)
    assert nbytes["x"] > 0
    await client.replicate(futures, n=2)
    assert {len(w) for w in (await client.who_has(futures)).values()} == {2}
    direct = await client.scatter([b"direct"], direct=True)
    assert await client.gather(direct, direct=True) == [b"direct"]
    await client.publish_dataset(ds=futures)
    assert list(await client.list_datasets()) == ["ds"]
    async with Client(client.scheduler.address, asynchronous=True) as other:
        assert await other.gather(await other.get_dataset("ds")) == [1, "two", {"three": 3}]
    await raises(KeyError, client.publish_dataset(ds=futures), "already exists")
    await client.unpublish_dataset("ds")
    assert list(await client.list_datasets()) == []
    await asyncio.wait_for(client.publish_dataset(one=futures[0], two=futures[1]), 10)
    assert list(await client.list_datasets()) == ["one", "two"]
    for name in ("one", "two"):
        await client.unpublish_dataset(name)
    await client.cancel(named["x"])
    assert named["x"].status == "cancelled"
    del futures, named, direct
    for _ in range(100):
        # The traceback of the error above holds on to the futures until then.
        gc.collect()
        if not any((await client.has_what()).values()):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(await client.has_what())


async def administration(client):
    await client.wait_for_workers(2, timeout=10)
    info = client.scheduler_info()
    assert set(await client.ncores()) == set((await client.scheduler.identity())["workers"]), info
    assert set((await client.run(lambda: 42)).values()) == {42}
    await raises(ZeroDivisionError, client.run(fail), "on purpose")
    assert set((await client.run(lambda: 1, nanny=True)).values()) == {1}
    await client.set_metadata(["a", ("t", 1)], [1, 2])
    assert tuple(await client.get_metadata(["a", ("t", 1)])) == (1, 2)
    assert await client.get_metadata("none", default=7) == 7
    await raises(KeyError, client.get_metadata("none"))
    await client.register_plugin(Mark())
    assert set((await client.run(is_marked)).values()) == {True}
    await client.unregister_worker_plugin("mark")
    assert set((await client.run(is_marked)).values()) == {False}
    logs = await client.get_scheduler_logs(n=3)
    assert len(logs) == 3
    assert len(await client.get_worker_logs()) == 2
    versions = await client.get_versions()
    assert len(versions["workers"]) == 2 and versions["scheduler"]["packages"]["rsds"], versions
    seen = []
    client.subscribe_topic("topic", lambda event: seen.append(event[1]))
    await asyncio.sleep(0.2)
    await client.log_event("topic", {"hello": 1})
    for _ in range(100):
        if seen:
            break
        await asyncio.sleep(0.02)
    assert seen == [{"hello": 1}], seen
    assert [event[1] for event in await client.get_events("topic")] == [{"hello": 1}]


async def main(address):
    async with Client(address, asynchronous=True) as client:
        await administration(client)
        await data(client)
        pids = set((await client.run(lambda dask_worker: __import__("os").getpid())).values())
        await client.restart(timeout=40)
        after = await client.run(lambda dask_worker: __import__("os").getpid())
        assert len(after) == 2 and not pids & set(after.values())
        [first] = await client.scatter([5], direct=False)
        assert await client.gather(first, direct=False) == 5
    print("done")


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 60))
