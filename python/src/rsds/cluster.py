"""``RsdsCluster``: local workers under the rsds scheduler."""

import asyncio
import contextlib
import logging
import math

import dask
import dask.system
from distributed.core import Status
from distributed.deploy.spec import SpecCluster
from distributed.deploy.utils import nprocesses_nthreads
from distributed.nanny import Nanny
from distributed.security import Security
from distributed.utils import Log, Logs
from distributed.worker import Worker
from distributed.worker_memory import parse_memory_limit

from rsds.process import RsdsScheduler

logger = logging.getLogger(__name__)

KNOWN_SECONDS_MAX = 5
NOTICED_SECONDS_MAX = 2


class RsdsCluster(SpecCluster):
    """A cluster on this machine: the rsds scheduler, and workers as ``LocalCluster`` starts them.

    Parameters
    ----------
    n_workers, threads_per_worker: int, optional
        As of ``LocalCluster``: together they take up all cores.
    processes: bool
        Workers in processes of their own, each under a nanny; else they are threads of this one.
    host, interface, protocol: str, optional
        Where scheduler and workers listen. Default: 127.0.0.1, tcp (tls where `security` requires it).
    scheduler_port: int
        0: any free one.
    dashboard_address: str, optional
        Where the scheduler serves its status page and metrics; None: only health and metrics, on any port.
    worker_dashboard_address: str, optional
        Where workers serve theirs; None: nowhere.
    security: distributed.Security, bool, optional
        True: temporary certificates, as in ``LocalCluster``.
    scheduler_args: list of str
        Further options of ``rsds scheduler``, such as ``["--scheduler", "random"]``.
    node: str, optional
        Path of Node; see `rsds.scheduler_command`.
    silence_logs: int
        Workers' log below this level is dropped. The scheduler's never comes here: see ``get_logs``.
    asynchronous, loop, name, scheduler_sync_interval, worker_class, **worker_kwargs
        As of ``LocalCluster``.

    Raises
    ------
    RuntimeError: the cluster could not start; the message has the scheduler's last lines, or says what is missing.

    Examples
    --------
    >>> from dask.distributed import Client
    >>> from rsds import RsdsCluster
    >>> with RsdsCluster(n_workers=2) as cluster, Client(cluster) as client:  # doctest: +SKIP
    ...     client.submit(sum, [1, 2, 3]).result()
    6
    """

    def __init__(
        self,
        n_workers=None,
        threads_per_worker=None,
        processes=None,
        *,
        host=None,
        interface=None,
        protocol=None,
        scheduler_port=0,
        dashboard_address=":8787",
        worker_dashboard_address=None,
        security=None,
        scheduler_args=(),
        node=None,
        silence_logs=logging.WARN,
        asynchronous=False,
        loop=None,
        name=None,
        scheduler_sync_interval=1,
        worker_class=None,
        **worker_kwargs,
    ):
        security = security_of(security)
        if protocol is None:
            protocol = "tls" if security.require_encryption else "tcp"
        if host is None and interface is None:
            host = "127.0.0.1"
        if processes is None:
            processes = worker_class is None or issubclass(worker_class, Nanny)
        self.processes = processes
        n_workers, threads_per_worker = shape(n_workers, threads_per_worker, processes)
        if n_workers and "memory_limit" not in worker_kwargs:
            worker_kwargs["memory_limit"] = parse_memory_limit("auto", 1, n_workers, logger=logger)
        worker = {
            "cls": worker_class or (Nanny if processes else Worker),
            "options": {
                "host": host,
                "interface": interface,
                "protocol": protocol.replace("://", "") + "://",
                "nthreads": threads_per_worker,
                "security": security,
                "dashboard": worker_dashboard_address is not None,
                "dashboard_address": worker_dashboard_address,
                "silence_logs": silence_logs,
                **worker_kwargs,
            },
        }
        scheduler = {
            "host": host,
            "interface": interface,
            "protocol": protocol,
            "port": scheduler_port,
            "dashboard_address": dashboard_address,
            "security": security,
            "args": scheduler_args,
            "node": node,
        }
        self._failure = None
        self._watch = None
        super().__init__(
            scheduler={"cls": RsdsScheduler, "options": scheduler},
            workers={i: worker for i in range(n_workers)},
            worker=worker,
            asynchronous=asynchronous,
            loop=loop,
            security=security,
            silence_logs=silence_logs,
            name=name,
            scheduler_sync_interval=scheduler_sync_interval,
        )

    @property
    def scheduler_comm(self):
        """The scheduler's requests as methods; after its end each raises SchedulerEndedError."""
        return self._scheduler_comm

    @scheduler_comm.setter
    def scheduler_comm(self, comm):
        self._scheduler_comm = None if comm is None else SchedulerComm(comm, self)

    async def _start(self):
        await super()._start()
        if self._watch is None and self.status == Status.running:
            self._watch = asyncio.ensure_future(self._fail_with_scheduler())

    async def _fail_with_scheduler(self):
        """Without its scheduler a cluster is of no use: whoever asks it for anything is told so, and why."""
        await self.scheduler.ended()
        if self.status != Status.running:
            return
        self._failure = self.scheduler.ended_error()
        self.status = self.scheduler.status = Status.failed
        logger.error("%s", self._failure)
        self._cluster_manager_logs.append((None, str(self._failure)))
        # Its periodic requests would fail from now on.
        with contextlib.suppress(AttributeError):
            self._adaptive.stop()
        await self.scheduler_comm.close_rpc()
        await asyncio.gather(*(worker.close() for worker in self.workers.values()), return_exceptions=True)

    async def _correct_state_internal(self):
        if self.status == Status.failed:
            return
        await super()._correct_state_internal()
        # They are registered, but the stream that tells of it may be late; whoever prints the cluster expects them.
        for _ in range(KNOWN_SECONDS_MAX * 100):
            if self.status != Status.running or set(self.workers) <= self.observed:
                break
            await asyncio.sleep(0.01)

    def scale(self, n=0, memory=None, cores=None):
        """Scales to `n` workers; those that go hand their results to the others first."""
        self._check()
        return super().scale(n, memory=memory, cores=cores)

    def adapt(self, *args, **kwargs):
        """Has the scheduler's need decide how many workers there are; see ``SpecCluster.adapt``."""
        self._check()
        return super().adapt(*args, **kwargs)

    def _check(self):
        if self.status == Status.failed and self._failure is not None:
            raise self._failure

    async def _wait_for_workers(self, *args, **kwargs):
        try:
            await super()._wait_for_workers(*args, **kwargs)
        except OSError:
            # The connection may be gone before the process is.
            if self._watch is not None:
                await asyncio.wait([self._watch], timeout=NOTICED_SECONDS_MAX)
            self._check()
            raise

    async def _get_logs(self, cluster=True, scheduler=True, workers=True):
        if self._failure is None:
            return await super()._get_logs(cluster=cluster, scheduler=scheduler, workers=workers)
        logs = Logs()
        if cluster:
            logs["Cluster"] = Log("\n".join(line for _, line in self._cluster_manager_logs))
        if scheduler:
            logs["Scheduler"] = Log(self.scheduler.last_lines())
        return logs


class SchedulerComm:
    """A cluster's connection to its scheduler: distributed's own, but for two things."""

    # What closing needs, of a scheduler that is gone too.
    _ALWAYS = ("address", "close_rpc", "terminate", "status")

    def __init__(self, comm, cluster):
        self._comm = comm
        self._cluster = cluster

    def __getattr__(self, name):
        if self._cluster._failure is not None and name not in self._ALWAYS:
            raise self._cluster._failure
        return getattr(self._comm, name)

    async def retire_workers(self, workers=None, names=None, **kwargs):
        """``SpecCluster`` gives names where the operation takes addresses, and so would lose what the workers hold.

        Those of the cluster stay until it closes them, which it does next: a nanny whose worker leaves while it is
        being closed logs an error.
        """
        request = self.__getattr__("retire_workers")
        cluster = self._cluster
        own = workers if workers is not None else names
        if own is None or not all(name in cluster.workers for name in own):
            given = {"workers": workers, "names": names}
            return await request(**{key: value for key, value in given.items() if value is not None}, **kwargs)
        # All of them go: there is nobody to hand results to.
        if cluster.status != Status.running:
            return {}
        return await request(**{**kwargs, "names": list(own), "remove": False, "close_workers": False})


def security_of(security):
    if security is None or security is False:
        return Security()
    if security is True:
        return Security.temporary()
    if not isinstance(security, Security):
        raise TypeError(f"security must be a distributed.Security or a bool, got {type(security).__name__}")
    return security


def shape(n_workers, threads_per_worker, processes):
    """How many workers, and threads for each: all cores between them, rather too many than too few."""
    cores = dask.system.CPU_COUNT
    if n_workers is None and threads_per_worker is None:
        return nprocesses_nthreads() if processes else (1, cores)
    if n_workers is None:
        return (max(1, cores // threads_per_worker) if processes else 1), threads_per_worker
    if threads_per_worker is None and n_workers:
        threads_per_worker = max(1, math.ceil(cores / n_workers))
    return n_workers, threads_per_worker
