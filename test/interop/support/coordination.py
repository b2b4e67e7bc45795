"""Queues, variables, locks, semaphores, events and pub/sub by real clients and tasks; one JSON line each.

    coordination.py ADDRESS NAME …
"""

import itertools
import json
import subprocess
import sys
import time
import traceback
import uuid

from dask.distributed import (
    Client,
    Event,
    Lock,
    MultiLock,
    Queue,
    Semaphore,
    TimeoutError,
    Variable,
    get_client,
    wait,
)

WAIT_SECONDS = 60


def eventually(condition, what):
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {WAIT_SECONDS} s: {what}"
        time.sleep(0.02)


def raises(kind, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def inc(x):
    return x + 1


def fails():
    raise ZeroDivisionError("on purpose")


def other_client(client):
    return Client(client.scheduler.address, timeout=60, set_as_default=False)


def queue(client):
    q = Queue("plain")
    assert q.qsize() == 0
    raises(TimeoutError, q.get, timeout="50ms")
    for item in (1, "two", [3, {"four": None}], b"five"):
        q.put(item)
    assert q.qsize() == 4
    assert q.get() == 1
    assert list(q.get(batch=True)) == ["two", (3, {"four": None}), b"five"]
    limited = Queue("limited", maxsize=1)
    limited.put(1)
    raises(TimeoutError, limited.put, 2, timeout=0.05)
    assert limited.get() == 1
    q.close()
    limited.close()


def queue_of_futures(client):
    q = Queue("futures")
    for i in range(3):
        q.put(client.submit(inc, i, pure=False))
    q.put(client.submit(fails, pure=False))
    # Nobody but the queue wants these any more.
    with other_client(client) as other:
        theirs = Queue("futures", client=other)
        first = theirs.get()
        assert other.gather(first) == 1
        assert [future.result(timeout=WAIT_SECONDS) for future in theirs.get(batch=2)] == [2, 3]
        failed = theirs.get()
        wait(failed)
        assert failed.status == "error"
        raises(ZeroDivisionError, failed.result)
        assert raises(ZeroDivisionError, other.submit(inc, failed).result).args == ("on purpose",)
        del first, failed
        theirs.close()
    q.close()


def queue_of_results_that_failed(client):
    q = Queue("failed")
    future = client.submit(fails, pure=False)
    wait(future)
    q.put(future)
    got = q.get()
    # Known at once, without a message more.
    assert got.status == "error"
    raises(ZeroDivisionError, got.result)
    q.close()


def queue_closed_with_futures_in_it(client):
    q = Queue("closed")
    for i in range(5):
        q.put(client.submit(inc, i, pure=False))
    eventually(lambda: sum(map(len, client.has_what().values())) == 5, "five results")
    q.close()


def produce(name, count):
    q = Queue(name)
    client = get_client()
    for i in range(count):
        q.put(client.submit(inc, i, pure=False))
    return count


def consume(name, count):
    q = Queue(name)
    return sum(q.get(timeout=WAIT_SECONDS).result() for _ in range(count))


def queue_between_tasks(client):
    q = Queue("between-tasks")
    a, b = sorted(client.scheduler_info()["workers"])[:2]
    consumer = client.submit(consume, "between-tasks", 10, workers=a, pure=False)
    producer = client.submit(produce, "between-tasks", 10, workers=b, pure=False)
    assert consumer.result(timeout=WAIT_SECONDS) == sum(range(1, 11))
    assert producer.result() == 10
    q.close()


def variable(client):
    v = Variable("plain")
    raises(TimeoutError, v.get, timeout="50ms")
    v.set(1)
    assert v.get() == 1
    v.set([1, {"a": "b"}])
    assert v.get() == (1, {"a": "b"})
    v.delete()
    eventually(lambda: is_unset(v), "it is deleted")
    v.set(None)
    assert v.get() is None
    v.delete()


def is_unset(v):
    try:
        v.get(timeout=0.05)
    except TimeoutError:
        return True
    return False


def variable_of_a_future(client):
    v = Variable("future")
    v.set(client.submit(inc, 1, pure=False))
    with other_client(client) as other:
        theirs = Variable("future", client=other)
        one, again = theirs.get(), theirs.get()
        assert one.result(timeout=WAIT_SECONDS) == again.result() == 2
        assert one.key == again.key
        v.set(client.submit(inc, 5, pure=False))
        # Not the value any more, and still wanted by who got it.
        time.sleep(0.2)
        assert one.result() == 2
        assert theirs.get().result(timeout=WAIT_SECONDS) == 6
        failed = client.submit(fails, pure=False)
        wait(failed)
        v.set(failed)
        assert theirs.get().status == "error"
        del one, again, failed
    v.set(0)
    v.delete()


def variable_whose_reader_dies(client):
    v = Variable("reader-dies")
    v.set(client.submit(inc, 1, pure=False))
    script = (
        "import sys, time\n"
        "from dask.distributed import Client, Variable\n"
        "client = Client(sys.argv[1])\n"
        "client._send_to_scheduler = lambda message: None\n"
        "future = Variable('reader-dies').get()\n"
        "print('got', flush=True)\n"
        "time.sleep(60)\n"
    )
    reader = subprocess.Popen([sys.executable, "-c", script, client.scheduler.address], stdout=subprocess.PIPE)
    assert reader.stdout.readline() == b"got\n"
    v.set(None)
    reader.kill()
    reader.wait()
    # The future was handed to a client that will never say that it has it.
    eventually(lambda: not any(client.has_what().values()), "the result is gone")
    v.delete()


def increments_metadata(lock_name):
    client = get_client()
    with Lock(lock_name):
        value = client.get_metadata("counter")
        time.sleep(0.01)
        client.set_metadata("counter", value + 1)


def lock(client):
    client.set_metadata("counter", 0)
    wait(client.map(increments_metadata, ["lock"] * 20, pure=False))
    assert client.get_metadata("counter") == 20
    lock = Lock("other")
    assert lock.acquire(timeout=WAIT_SECONDS)
    assert lock.locked()
    assert not Lock("other").acquire(timeout=0.05)
    assert not Lock("other").acquire(blocking=False)
    lock.release()
    assert Lock("other").acquire(blocking=False)


def lock_whose_holder_dies(client):
    script = (
        "import sys, time\n"
        "import dask\n"
        "dask.config.set({'distributed.scheduler.locks.lease-timeout': '3s'})\n"
        "from dask.distributed import Client, Lock\n"
        "client = Client(sys.argv[1])\n"
        "lock = Lock('orphan')\n"
        "assert lock.acquire()\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, client.scheduler.address], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    # Refreshed for as long as it lives.
    assert not Lock("orphan").acquire(timeout=4)
    holder.kill()
    holder.wait()
    assert Lock("orphan").acquire(timeout=WAIT_SECONDS)


def at_once(semaphore, name):
    client = get_client()
    with semaphore:
        running = client.get_metadata(name) + 1
        client.set_metadata(name, running)
        time.sleep(0.02)
        client.set_metadata(name, client.get_metadata(name) - 1)
        return running


def semaphore(client):
    client.set_metadata("running", 0)
    sem = Semaphore(max_leases=1, name="database")
    sem.register()
    assert max(client.gather(client.map(at_once, [sem] * 10, ["running"] * 10, pure=False))) == 1
    two = Semaphore(max_leases=2, name="two")
    assert two.acquire(timeout=WAIT_SECONDS) and two.acquire(timeout=WAIT_SECONDS)
    assert not two.acquire(timeout=0.05)
    assert two.get_value() == 2
    assert two.release() and two.acquire(timeout=WAIT_SECONDS)
    raises(ValueError, lambda: Semaphore(max_leases=3, name="two").register())
    two.close()
    raises(RuntimeError, two.acquire)
    sem.close()


def takes_both(names, seconds):
    with MultiLock(names):
        time.sleep(seconds)
    return names


def multi_lock(client):
    pairs = [["x", "y"], ["y", "z"], ["z", "x"]] * 4
    futures = client.map(takes_both, pairs, [0.02] * len(pairs), pure=False)
    assert client.gather(futures) == pairs
    held = MultiLock(["x", "y"])
    assert held.acquire(timeout=WAIT_SECONDS)
    assert not MultiLock(["y", "z"]).acquire(timeout=0.05)
    some = MultiLock(["x", "y", "z"])
    assert some.acquire(num_locks=1, timeout=1)
    some.release()
    held.release()
    assert MultiLock(["y", "z"]).acquire(timeout=WAIT_SECONDS)


def waits_for(name):
    return Event(name).wait(timeout=WAIT_SECONDS)


def event(client):
    flag = Event("go")
    assert not flag.is_set()
    assert not flag.wait(timeout=0.05)
    futures = client.map(waits_for, ["go"] * 2, pure=False)
    time.sleep(0.2)
    assert not any(future.done() for future in futures)
    flag.set()
    assert client.gather(futures) == [True, True]
    assert flag.is_set() and flag.wait(timeout=1)
    flag.clear()
    assert not flag.is_set()


def publishes(topic, heard):
    from dask.distributed import Pub

    pub = Pub(topic)
    heard = Event(heard)
    end = time.monotonic() + WAIT_SECONDS
    # Dask's Pub tells nobody when it is known to the listeners: whoever comes late has missed the first ones.
    for i in itertools.count():
        pub.put(i)
        if heard.is_set():
            return
        assert time.monotonic() < end
        time.sleep(0.01)


def listens(topic, count):
    from dask.distributed import Sub

    sub = Sub(topic)
    return [sub.get(timeout=WAIT_SECONDS) for _ in range(count)]


def follow_one_another(numbers):
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def pubsub(client):
    from dask.distributed import Pub, Sub

    a, b = sorted(client.scheduler_info()["workers"])[:2]
    here = Sub("topic")
    heard = f"heard-{uuid.uuid4()}"
    there = client.submit(listens, "topic", 5, workers=a, pure=False)
    done = client.submit(publishes, "topic", heard, workers=b, pure=False)
    assert follow_one_another(there.result(timeout=WAIT_SECONDS))
    assert follow_one_another([here.get(timeout=WAIT_SECONDS) for _ in range(5)])
    Event(heard).set()
    done.result(timeout=WAIT_SECONDS)
    there = client.submit(listens, "from-client", 1, workers=a, pure=False)
    pub = Pub("from-client")
    end = time.monotonic() + WAIT_SECONDS
    while not there.done():
        assert time.monotonic() < end
        pub.put({"a": [1]})
        time.sleep(0.05)
    assert there.result() == [{"a": [1]}]


def main(address, *names):
    with Client(address, timeout=60) as client:
        client.wait_for_workers(2, timeout=WAIT_SECONDS)
        for name in names:
            before = time.monotonic()
            try:
                globals()[name](client)
                eventually(lambda: not any(client.has_what().values()), "the workers' memory is empty")
                fault = None
            except BaseException:
                fault = traceback.format_exc()
            print(json.dumps({"name": name, "seconds": round(time.monotonic() - before, 2), "fault": fault}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
