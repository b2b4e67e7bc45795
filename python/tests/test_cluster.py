"""``python -m unittest`` of this folder, in an environment with distributed; `npm test` runs it in each that it makes."""

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
import urllib.request
from pathlib import Path

import psutil
from distributed import Client, Nanny, SpecCluster, Worker
from distributed.core import Status
from distributed.security import Security

from rsds import LaunchError, RsdsCluster, RsdsScheduler, SchedulerEndedError, scheduler_command

CERTIFICATES = Path(__file__).resolve().parents[2] / "test" / "comm" / "certificates"
QUIET = {"dashboard_address": "127.0.0.1:0", "threads_per_worker": 1}


def until(condition, seconds=15):
    """Waits for what is to come; fails if it does not."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.02)


def counted(path, value):
    with open(path, "a") as runs:
        runs.write(f"{value}\n")
    return value


class RsdsClusterTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="rsds-python-")
        self.addCleanup(folder.cleanup)
        self.runs = Path(folder.name) / "runs"

    def test_computes_and_leaves_no_process_behind(self):
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        with RsdsCluster(n_workers=2, **QUIET) as cluster, Client(cluster) as client:
            self.assertEqual(client.submit(sum, [1, 2, 3]).result(), 6)
            self.assertEqual(len(cluster.scheduler_info["workers"]), 2)
            self.assertEqual(cluster.observed, {0, 1})
            self.assertIn("workers=2", repr(cluster))
            with urllib.request.urlopen(cluster.dashboard_link, timeout=10) as page:
                self.assertEqual(page.status, 200)
            logs = cluster.get_logs()
            self.assertIn("Scheduler at", logs["Scheduler"])
        self.assertEqual(cluster.status, Status.closed)
        after = psutil.Process().children(recursive=True)
        left = [child.cmdline() for child in after if child.pid not in before]
        # Python's own process that counts shared resources is for the whole of this process.
        self.assertEqual([line for line in left if "resource_tracker" not in " ".join(line)], [])

    def test_async_with(self):
        async def run():
            async with RsdsCluster(n_workers=1, asynchronous=True, **QUIET) as cluster:
                async with Client(cluster, asynchronous=True) as client:
                    self.assertEqual(await client.submit(sum, [1, 2]), 3)
                    cluster.scale(2)
                    await client.wait_for_workers(2, timeout=20)
            self.assertEqual(cluster.status, Status.closed)

        asyncio.run(run())

    def test_opens_graphs_with_the_python_of_the_client(self):
        with RsdsCluster(n_workers=1, **QUIET) as cluster, Client(cluster) as client:
            executable = client.run_on_scheduler(lambda: __import__("sys").executable)
        self.assertTrue(os.path.samefile(os.path.dirname(executable), os.path.dirname(sys.executable)))

    def test_scaling_down_loses_no_result(self):
        with RsdsCluster(n_workers=3, **QUIET) as cluster, Client(cluster) as client:
            futures = client.map(counted, [self.runs] * 30, range(30), pure=False)
            self.assertEqual(client.gather(futures), list(range(30)))
            self.assertEqual(len(client.has_what()), 3)
            cluster.scale(1)
            until(lambda: len(client.has_what()) == 1)
            self.assertEqual(client.gather(futures), list(range(30)))
            cluster.scale(2)
            client.wait_for_workers(2, timeout=20)
            until(lambda: len(cluster.workers) == 2)
        self.assertEqual(len(self.runs.read_text().splitlines()), 30)

    def test_under_a_plain_spec_cluster_scaling_down_loses_no_result(self):
        worker = {"cls": Nanny, "options": {"nthreads": 1, "dashboard": False}}
        scheduler = {"cls": RsdsScheduler, "options": {"host": "127.0.0.1", "dashboard": False}}
        with SpecCluster({"a": worker, "b": worker}, scheduler, worker) as cluster, Client(cluster) as client:
            futures = client.map(counted, [self.runs] * 10, range(10), pure=False)
            client.gather(futures)
            cluster.scale(1)
            until(lambda: len(client.has_what()) == 1)
            self.assertEqual(client.gather(futures), list(range(10)))
        self.assertEqual(len(self.runs.read_text().splitlines()), 10)

    def test_adapt_follows_the_need_and_loses_no_result(self):
        with RsdsCluster(n_workers=0, **QUIET) as cluster, Client(cluster) as client:
            cluster.adapt(minimum=0, maximum=2, interval="100ms", wait_count=2, target_duration="0.2s")
            futures = client.map(lambda i: time.sleep(0.1) or i, range(60), pure=False)
            until(lambda: len(cluster.scheduler_info["workers"]) == 2, 30)
            self.assertEqual(client.gather(futures), list(range(60)))
            del futures
            until(lambda: len(cluster.scheduler_info["workers"]) == 0, 30)

    def test_a_scheduler_that_dies_fails_the_cluster_at_once(self):
        with RsdsCluster(n_workers=1, **QUIET) as cluster:
            cluster.wait_for_workers(1, timeout=20)
            with self.assertLogs("rsds.cluster", "ERROR") as logged:
                os.kill(cluster.scheduler.pid, signal.SIGKILL)
                until(lambda: cluster.status == Status.failed, 2)
                until(lambda: len(logged.output) > 0, 2)
            with self.assertRaisesRegex(SchedulerEndedError, r"(?s)by signal 9.*Scheduler at"):
                cluster.scale(3)
            with self.assertRaisesRegex(SchedulerEndedError, "Register|Scheduler at"):
                cluster.wait_for_workers(1, timeout=5)
            self.assertIn("Scheduler at", cluster.get_logs()["Scheduler"])
            began = time.monotonic()
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(cluster.status, Status.closed)

    def test_a_scheduler_that_cannot_start_says_why(self):
        with self.assertRaisesRegex(RuntimeError, "(?s)status 2.*unknown option '--no-such-thing'"):
            RsdsCluster(n_workers=0, scheduler_args=["--no-such-thing"], **QUIET)

    def test_a_scheduler_whose_python_was_killed_ends_itself(self):
        script = """
            import time
            from rsds import RsdsCluster
            if __name__ == "__main__":
                cluster = RsdsCluster(n_workers=1, dashboard_address="127.0.0.1:0")
                print(cluster.scheduler.pid, flush=True)
                time.sleep(60)
        """
        path = self.runs.with_suffix(".py")
        path.write_text(textwrap.dedent(script))
        with subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, text=True) as parent:
            pid = int(parent.stdout.readline())
            scheduler = psutil.Process(pid)
            family = psutil.Process(parent.pid).children(recursive=True)
            parent.kill()
        until(lambda: not scheduler.is_running() or scheduler.status() == psutil.STATUS_ZOMBIE, 10)
        psutil.wait_procs(family, timeout=20)
        self.assertEqual([process for process in family if process.is_running()], [])

    def test_certificates(self):
        roles = ("scheduler", "worker", "client")
        security = Security(
            require_encryption=True,
            tls_ca_file=str(CERTIFICATES / "ca.pem"),
            **{f"tls_{role}_cert": str(CERTIFICATES / "peer.pem") for role in roles},
            **{f"tls_{role}_key": str(CERTIFICATES / "peer.key") for role in roles},
        )
        with RsdsCluster(n_workers=1, security=security, **QUIET) as cluster, Client(cluster) as client:
            self.assertTrue(cluster.scheduler_address.startswith("tls://"))
            self.assertEqual(client.submit(sum, [1, 2]).result(), 3)

    def test_certificates_as_texts(self):
        security = Security(
            require_encryption=True,
            tls_ca_file=(CERTIFICATES / "ca.pem").read_text(),
            **{f"tls_{role}_cert": (CERTIFICATES / "peer.pem").read_text() for role in ("scheduler", "client")},
            **{f"tls_{role}_key": (CERTIFICATES / "peer.key").read_text() for role in ("scheduler", "client")},
        )
        with RsdsCluster(n_workers=0, security=security, **QUIET) as cluster, Client(cluster) as client:
            self.assertEqual(dict(client.scheduler_info()["workers"]), {})

    def test_workers_as_threads(self):
        with RsdsCluster(n_workers=1, processes=False, **QUIET) as cluster, Client(cluster) as client:
            self.assertIsInstance(cluster.workers[0], Worker)
            self.assertEqual(client.submit(os.getpid).result(), os.getpid())

    def test_is_shown_in_a_notebook(self):
        with RsdsCluster(n_workers=1, **QUIET) as cluster:
            self.assertIn("RsdsCluster", cluster._repr_html_())
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                cluster._ipython_display_()
            widget = cluster._widget()
            self.assertEqual([widget.get_title(0), widget.get_title(1)], ["Status", "Scaling"])
            self.assertIn("Workers: 1", widget.children[1].children[0].value)

    def test_a_node_that_is_none_is_refused(self):
        with self.assertRaisesRegex(LaunchError, "is not a Node that runs"):
            scheduler_command(node="/does/not/exist")
        old = self.runs.with_suffix(".sh")
        old.write_text("#!/bin/sh\necho v18.1.0\n")
        old.chmod(0o755)
        with self.assertRaisesRegex(LaunchError, "Node v18.1.0; rsds needs 20 or later"):
            scheduler_command(node=str(old))


if __name__ == "__main__":
    unittest.main(verbosity=2)
