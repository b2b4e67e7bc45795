"""The scheduler as a process of its own, in the form in which distributed's ``SpecCluster`` takes one."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import dask
from distributed.core import Status
from distributed.deploy.spec import ProcessInterface

from rsds.launch import scheduler_command

START_SECONDS_MAX = 30
CLOSE_SECONDS_MAX = 5
LAST_LINES_MAX = 20
LAST_BYTES_MAX = 16_384


class SchedulerEndedError(ConnectionError):
    """The scheduler's process has ended by itself. The message ends with the last lines of its log."""


class RsdsScheduler(ProcessInterface):
    """``rsds scheduler`` beside this Python, where ``SpecCluster`` and tools built on it take a scheduler's class.

    Parameters
    ----------
    host, interface, protocol, port, dashboard_address, dashboard_prefix, idle_timeout, scheduler_file: optional
        As of distributed's ``Scheduler``. Port 0, any free one, is the default.
    dashboard: bool
        False: no status page; only health and metrics, on any port of 127.0.0.1.
    security: distributed.Security, optional
        Whose certificates for the role of a scheduler are used, if it requires encryption.
    args: list of str
        Further options of ``rsds scheduler``.
    node: str, optional
        Path of Node; see `rsds.scheduler_command`.
    """

    def __init__(
        self,
        host=None,
        interface=None,
        protocol=None,
        port=0,
        dashboard=True,
        dashboard_address=":8787",
        dashboard_prefix=None,
        idle_timeout=None,
        scheduler_file=None,
        security=None,
        args=(),
        node=None,
    ):
        super().__init__()
        protocol = None if protocol is None else protocol.replace("://", "")
        if not dashboard or dashboard_address is None:
            dashboard_address = "127.0.0.1:0"
            args = ["--no-dashboard", *args]
        given = {
            "--host": host,
            "--interface": interface,
            "--protocol": protocol,
            "--port": port,
            "--dashboard-address": dashboard_address,
            "--dashboard-prefix": dashboard_prefix,
            "--idle-timeout": idle_timeout,
        }
        options = [[name, str(value)] for name, value in given.items() if value is not None]
        self._args = [part for option in options for part in option] + list(args)
        self._file = scheduler_file
        self._security = security
        self._node = node
        self._folder = None
        self._process = None
        self._ended = None

    @property
    def pid(self):
        """Process id; None before the start."""
        return None if self._process is None else self._process.pid

    async def start(self):
        """Returns once the scheduler listens. Raises LaunchError or SchedulerEndedError, else TimeoutError."""
        try:
            await self._start()
        except BaseException:
            self.status = Status.failed
            await self._end()
            raise
        await super().start()

    async def _start(self):
        command = scheduler_command(self._node)
        self._folder = Path(tempfile.mkdtemp(prefix="rsds-"))
        file = Path(self._file or self._folder / "scheduler.json")
        own = ["scheduler", "--scheduler-file", str(file), "--end-with-stdin", "--python", sys.executable]
        config = dask.config.serialize(dask.config.global_config)
        with open(self._folder / "log", "wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                *own,
                *self._tls_args(),
                *self._args,
                # Held open for as long as this process lives: the scheduler ends with it, however that ends.
                stdin=asyncio.subprocess.PIPE,
                # A file, since nobody would read a pipe.
                stdout=log,
                stderr=log,
                env={**os.environ, "DASK_INTERNAL_INHERIT_CONFIG": config, "PYTHONPATH": self._module_path()},
                # Ctrl-C in a terminal or a notebook is for the user's code.
                start_new_session=True,
            )
        self._ended = asyncio.ensure_future(self._process.wait())
        self.address = await self._address_in(file)

    @staticmethod
    def _module_path():
        """What can be imported here, can be where graphs are opened: they name functions of the user's modules."""
        return os.pathsep.join(path or os.getcwd() for path in sys.path)

    async def _address_in(self, file):
        loop = asyncio.get_running_loop()
        until = loop.time() + START_SECONDS_MAX
        while loop.time() < until:
            if self._ended.done():
                raise self.ended_error()
            # Not there yet.
            with contextlib.suppress(OSError, ValueError):
                return json.loads(file.read_text())["address"]
            await asyncio.sleep(0.02)
        raise TimeoutError(f"the scheduler does not listen after {START_SECONDS_MAX} s:\n{self.last_lines()}")

    def _tls_args(self):
        """Certificates may be texts, as temporary ones are: those go into files that only this user can read."""
        if self._security is None or not self._security.require_encryption:
            return []
        config = self._security.get_tls_config_for_role("scheduler")
        options = {"ca_file": "--tls-ca-file", "cert": "--tls-cert", "key": "--tls-key"}
        args = []
        for name, option in options.items():
            value = config.get(name)
            if value is None:
                continue
            if "\n" in value:
                path = self._folder / f"{name}.pem"
                path.touch(mode=0o600)
                path.write_text(value)
                value = str(path)
            args += [option, value]
        return args

    async def ended(self):
        """Waits until the process has ended, for whatever reason."""
        await asyncio.wait([self._ended])

    def ended_error(self):
        """How it ended, with its last words."""
        code = self._process.returncode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with status {code}"
        return SchedulerEndedError(f"the rsds scheduler has ended {how}. Its last lines:\n{self.last_lines()}")

    def last_lines(self):
        """The end of the scheduler's log, at most 20 lines; "" where there is none."""
        try:
            with open(self._folder / "log", "rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_BYTES_MAX))
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-LAST_LINES_MAX:])

    async def close(self):
        """Ends the process, at first by asking it to. Raises nothing if it has ended already."""
        if self.status == Status.closed:
            return
        self.status = Status.closing
        await self._end()
        await super().close()

    async def _end(self):
        if self._process is not None and self._ended is not None:
            for end in (self._process.terminate, self._process.kill):
                if self._ended.done():
                    break
                with contextlib.suppress(ProcessLookupError):
                    end()
                await asyncio.wait([self._ended], timeout=CLOSE_SECONDS_MAX)
            self._process.stdin.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
