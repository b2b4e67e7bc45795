"""Records messages of a real Dask cluster for test/protocol/golden.

    .venvs/dask-2026.8.0/bin/python scripts/record-golden.py

starts a scheduler and two workers of the release that this Python has, with a relay between the scheduler and
everybody else, lets a client use them so that the operations of WANTED occur, and writes the first messages of each
with an entry each in manifest.json. Operations that the folder has of this release are left alone.
"""

from __future__ import annotations

import asyncio
import json
import operator
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import distributed
from distributed import Client
from distributed.protocol.core import loads

GOLDEN = Path(__file__).resolve().parent.parent / "test" / "protocol" / "golden"
SCENARIO = "recorded"
PER_OPERATION = 2
IN, OUT = "peer->sched", "sched->peer"
WANTED = {
    ("add-keys", IN),
    ("free-keys", OUT),
    ("release-worker-data", IN),
    ("worker-status-change", IN),
    ("worker-status-change", OUT),
    ("remove-replicas", OUT),
    ("client-releases-keys", IN),
    ("cancel-keys", IN),
    ("close-client", IN),
    ("heartbeat-client", IN),
}


class Stream:
    """One direction of one connection, cut into messages as they come."""

    def __init__(self, connection: int, flow: str, messages: list):
        self.connection, self.flow, self.messages = connection, flow, messages
        self.held = bytearray()
        self.count = 0

    def feed(self, data: bytes) -> None:
        self.held += data
        while len(self.held) >= 16:
            (count,) = struct.unpack_from("<Q", self.held, 8)
            if len(self.held) < 16 + 8 * count:
                return
            lens = struct.unpack_from(f"<{count}Q", self.held, 16)
            size = 16 + 8 * count + sum(lens)
            if len(self.held) < size:
                return
            message = bytes(self.held[:size])
            self.messages.append((self.connection, self.count, self.flow, lens, message))
            del self.held[:size]
            self.count += 1


class Relay:
    """Listens, forwards to the scheduler, keeps what goes by. Runs in a thread of its own."""

    def __init__(self, target_port: int):
        self.target_port = target_port
        self.messages: list = []
        self.connections = 0
        self.port = 0
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self._run, args=(ready,), daemon=True).start()
        ready.wait()

    def _run(self, ready: threading.Event) -> None:
        async def start() -> None:
            server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()

        self.loop.run_until_complete(start())
        self.loop.run_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.connections
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        await asyncio.gather(
            self._pump(reader, far_writer, Stream(number, IN, self.messages)),
            self._pump(far_reader, writer, Stream(number, OUT, self.messages)),
        )

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: Stream) -> None:
        try:
            while data := await reader.read(1 << 16):
                stream.feed(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # One side is gone; closing the other below is all there is to do.
        finally:
            writer.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def use(client: Client) -> None:
    """Makes every operation of WANTED happen at least once, with keys of text and tuples."""
    client.wait_for_workers(2)
    one, two = sorted(client.scheduler_info()["workers"])
    a = client.submit(operator.add, 1, 2, key=("part", 0), workers=[one])
    b = client.submit(operator.add, 3, 4, key="plain-text", workers=[two])
    c = client.submit(operator.add, a, b, key=("sum", 1.0, "x"), workers=[two])
    assert c.result() == 10
    client.replicate([b], n=2)
    time.sleep(0.5)
    client.amm.start()  # drops the replica that nobody needs: remove-replicas
    time.sleep(3)
    client.amm.stop()
    slow = client.submit(time.sleep, 0.3, key="slow")
    client.cancel([slow])
    with distributed.Client(client.scheduler.address) as other:
        kept = other.submit(operator.neg, 5, key="kept")
        assert kept.result() == -5
    del a, b, c, slow, kept
    time.sleep(6)  # heartbeat-client comes every five seconds
    client.retire_workers([two])
    time.sleep(1)


def operations(message: bytes, lens: tuple) -> list[str]:
    at = 16 + 8 * len(lens)
    frames = []
    for length in lens:
        frames.append(message[at : at + length])
        at += length
    value = loads(frames, deserialize=False)
    parts = value if isinstance(value, tuple) else (value,)
    return [part["op"] for part in parts if isinstance(part, dict) and "op" in part]


def write(messages: list) -> None:
    manifest_path = GOLDEN / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    release = distributed.__version__
    present = {(op, entry["flow"]) for entry in manifest if entry["version"] == release for op in entry["ops"]}
    taken: dict[tuple[str, str], int] = {}
    for connection, number, flow, lens, message in messages:
        try:
            ops = operations(message, lens)
        except Exception as error:  # a pickled object of an unknown class: not one of ours
            print(f"skipped: {error!r}", file=sys.stderr)
            continue
        lacking = [op for op in dict.fromkeys(ops) if (op, flow) in WANTED - present]
        wanted = [op for op in lacking if taken.get((op, flow), 0) < PER_OPERATION]
        if not wanted:
            continue
        for op in wanted:
            taken[op, flow] = taken.get((op, flow), 0) + 1
        direction = "in" if flow == IN else "out"
        name = f"{release}-{wanted[0]}-{direction}-{SCENARIO}-c{connection}s{number}"
        (GOLDEN / f"{name}.bin").write_bytes(message)
        manifest.append(
            {
                "name": name,
                "version": release,
                "ops": ops,
                "flow": flow,
                "kind": "stream",
                "nframes": len(lens),
                "lens": list(lens),
                "outer": struct.unpack_from("<Q", message)[0],
                "bytes": len(message),
            }
        )
    manifest_path.write_text(json.dumps(manifest, indent=1) + "\n")
    for op, flow in sorted(WANTED - present):
        print(f"{op} {flow}: {taken.get((op, flow), 0)} recorded")


def main() -> None:
    scheduler_port = free_port()
    processes = []
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:

        def start(*arguments: str) -> None:
            command = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
            processes.append(subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL))

        try:
            start("dask_scheduler", "--host", "127.0.0.1", "--port", str(scheduler_port), "--no-dashboard")
            relay = Relay(scheduler_port)
            address = f"tcp://127.0.0.1:{relay.port}"
            time.sleep(3)
            for name in ("one", "two"):
                start("dask_worker", address, "--no-nanny", "--nthreads", "1", "--name", name, "--no-dashboard")
            with Client(address) as client:
                use(client)
            time.sleep(0.5)
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait(10)
    write(relay.messages)


if __name__ == "__main__":
    main()
