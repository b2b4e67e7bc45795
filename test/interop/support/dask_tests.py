"""pytest plugin: Dask's own tests, as its wheel brings them, against a scheduler of ours with real workers.

RSDS_ADDRESS  a scheduler with two workers: tests that take a cluster get this one, all of them the same
RSDS_COMMAND  a JSON list, the command of a scheduler: each test under `gen_cluster` gets one of its own, with two workers
              in the test's process, and a `s` that has an address and nothing else
RSDS_LEFT_OUT a JSON list of names of tests that are not run
RSDS_PASSED   a file that gets the name of each test that passed, a line each

Collections' tests that ask for a scheduler by a name of Dask's get the client's.
"""

import asyncio
import contextlib
import functools
import inspect
import json
import os
import subprocess
import tempfile
import time
import types

import dask.base
import distributed.utils_test
import pytest
from distributed import Client, Worker
from distributed.client import default_client

ADDRESS = os.environ["RSDS_ADDRESS"]
COMMAND = json.loads(os.environ["RSDS_COMMAND"])
LEFT_OUT = frozenset(json.loads(os.environ.get("RSDS_LEFT_OUT", "[]")))
PASSED = os.environ["RSDS_PASSED"]
# What dask.base passes on to its own schedulers, and a client does not take.
LOCAL_OPTIONS = ("num_workers", "pool", "chunksize", "cache", "rerun_exceptions_locally", "raise_exception")


@contextlib.contextmanager
def own_scheduler():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "scheduler.json")
        process = subprocess.Popen([*COMMAND, "--scheduler-file", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.time() + 30
            while not os.path.exists(path) or not (text := open(path).read()).rstrip().endswith("}"):
                assert process.poll() is None and time.time() < deadline, "the scheduler does not start"
                time.sleep(0.02)
            yield json.loads(text)["address"]
        finally:
            process.kill()
            process.wait()


async def run_with_cluster(test, address, kwargs):
    async with (
        Worker(address, nthreads=1, name=0, host="127.0.0.1") as a,
        Worker(address, nthreads=2, name=1, host="127.0.0.1") as b,
        Client(address, asynchronous=True) as client,
    ):
        await asyncio.wait_for(test(client, types.SimpleNamespace(address=address), a, b, **kwargs), 30)


def gen_cluster(client=False, **options):
    """For tests of the form `(c, s, a, b, *fixtures)`, which are all that there are in dask itself."""
    assert client and not options, f"gen_cluster with {options} is not known here"

    def decorate(test):
        fixtures = list(inspect.signature(test).parameters.values())[4:]

        @functools.wraps(test)
        def run(**kwargs):
            with own_scheduler() as address:
                asyncio.run(run_with_cluster(test, address, kwargs))

        run.__signature__ = inspect.Signature(fixtures)
        return run

    return decorate


@contextlib.contextmanager
def cluster(**_options):
    yield shared_cluster()


@pytest.fixture
def cluster_fixture(loop):
    return shared_cluster()


def shared_cluster():
    with Client(ADDRESS, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        workers = client.scheduler_info(n_workers=-1)["workers"]
    return {"address": ADDRESS}, [{"address": address} for address in workers]


# Test modules take these names from there, and are not imported yet.
distributed.utils_test.gen_cluster = gen_cluster
distributed.utils_test.cluster = cluster
distributed.utils_test.cluster_fixture = cluster_fixture


@pytest.fixture(scope="session")
def collections_client():
    """A client that is there all the time, and takes what is meant for Dask's schedulers of one machine."""

    def get(dsk, keys, **options):
        return default_client().get(dsk, keys, **{k: v for k, v in options.items() if k not in LOCAL_OPTIONS})

    named = dict(dask.base.named_schedulers)
    dask.base.named_schedulers.update({name: get for name in named if "dask" not in name})
    with Client(ADDRESS) as client:
        yield client
    dask.base.named_schedulers.update(named)


@pytest.fixture(autouse=True)
def for_collections(request):
    if request.module.__name__ != "dask.tests.test_distributed":
        request.getfixturevalue("collections_client")


def pytest_collection_modifyitems(config, items):
    left_out = [item for item in items if item.originalname in LEFT_OUT]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
        with open(PASSED, "a") as file:
            file.write(f"{report.nodeid}\n")
