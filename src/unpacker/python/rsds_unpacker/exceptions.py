"""Objects of Dask's own classes that the scheduler hands to clients and workers."""

import builtins
import inspect

import distributed.scheduler
import msgpack
from distributed.core import Status
from distributed.protocol import pickle as dask_pickle
from distributed.scheduler import WorkerState

from .graphs import open_pickled
from .specs import SpecPickler


_TOO_EARLY = (
    "rsds does not serve P2P shuffles of distributed 2023.8 to 2023.12.0: set dataframe.shuffle.method and "
    "array.rechunk.method to 'tasks', or take a later release"
)


def _unpack(data):
    return msgpack.unpackb(data, use_list=False, raw=False, strict_map_key=False)


def make_exception(name, args, worker):
    """The pickle and the text of an exception class of distributed.scheduler or Python, by its name.

    KilledWorker's second argument is the WorkerState of the last worker, made here of `worker`.
    """
    cls = getattr(distributed.scheduler, name, None) or getattr(builtins, name, None)
    if not (isinstance(cls, type) and issubclass(cls, Exception)):
        raise TypeError(f"{name!r} is no exception class of distributed.scheduler or Python")
    args = list(_unpack(args))
    if worker is not None:
        args.insert(1, _worker_state(worker))
    if name == "NoValidWorkerError":
        args[1:3] = [set(restrictions or ()) for restrictions in args[1:3]]
    error = cls(*args)
    return dask_pickle.dumps(error), repr(error)


def _worker_state(worker):
    return WorkerState(
        address=worker["address"],
        status=Status.lookup[worker.get("status", "closed")],
        pid=worker.get("pid", 0),
        name=worker.get("name", worker["address"]),
        nthreads=worker.get("nthreads", 1),
        memory_limit=worker.get("memory_limit", 0),
        local_directory=worker.get("local_directory", ""),
        nanny=worker.get("nanny"),
        server_id=worker.get("server_id", worker["address"]),
    )


def make_shuffle_run(head, sections, packb):
    """The frames of a pickled ShuffleRunSpec for a P2P barrier task or, before 2024.11, for the ShuffleSpec itself; and the
    pairs (partition, worker).

    `existing` are pairs that another shuffle with shared output tasks has fixed already; `run_id` is the
    scheduler's, since more than one unpacker may be asked.
    """
    existing = dict(_unpack(sections[0]))
    opened = open_pickled(sections[1], sections[2:])
    spec = opened.spec if hasattr(opened, "spec") else opened
    if not hasattr(spec, "pick_worker"):
        raise RuntimeError(_TOO_EARLY)
    workers = list(head["workers"])
    worker_for = {
        partition: existing[partition] if partition in existing else spec.pick_worker(partition, workers)
        for partition in spec.output_partitions
    }
    known = {"worker_for": worker_for, "span_id": head["span_id"]}
    wanted = inspect.signature(spec.create_new_run).parameters
    run_spec = spec.create_new_run(**{name: known[name] for name in wanted}).run_spec
    # The dataclass is frozen, and counts runs in this process alone.
    object.__setattr__(run_spec, "run_id", head["run_id"])
    header, buffers = SpecPickler(packb).frames(run_spec)
    return [list(header), *([buffer] for buffer in buffers)], packb(list(worker_for.items()))
