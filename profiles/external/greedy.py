"""An example of a policy outside the scheduler: `rsds scheduler --scheduler "external:python greedy.py"`.

A ready task goes where the fewest tasks a thread lie, and among those where the most bytes of its inputs are. When a worker
runs dry, the newest task of the fullest one is asked for. docs/external-policy.md has the format of the messages.
"""

import struct
import sys

import msgpack


class Worker:
    def __init__(self, threads):
        self.threads = threads
        self.running = False
        self.tasks = []  # what it was given and has not finished, oldest first

    @property
    def load(self):
        return len(self.tasks) / self.threads


class Task:
    def __init__(self, inputs=(), tied=False):
        self.inputs = inputs
        self.tied = tied  # to workers, by its restrictions: the scheduler places it
        self.consumers = []
        self.missing = set()  # inputs that are not there
        self.worker = None
        self.holders = set()
        self.nbytes = 0
        self.fixed = False  # could not be stolen: it runs
        self.done = False


class Greedy:
    def __init__(self):
        self.workers = {}
        self.tasks = {}
        self.ready = {}  # a dict for its order

    # What happened. The names are those of the messages' "op".

    def new_worker(self, worker, threads, host):
        self.workers[worker] = Worker(threads)

    def worker_status(self, worker, running):
        self.workers[worker].running = running

    def worker_left(self, worker):
        del self.workers[worker]

    def new_task(self, task, inputs, name, order, tied):
        self.tasks[task] = new = Task(inputs, tied)
        for key in inputs:
            self.tasks[key].consumers.append(task)
            if not self.tasks[key].done:
                new.missing.add(key)
        self.offer(task)

    def new_data(self, task, workers, nbytes):
        self.tasks[task] = data = Task()
        data.done, data.holders, data.nbytes = True, set(workers), nbytes

    def task_waiting(self, task):
        """It has to be computed again; what needs its result waits for it."""
        again = self.tasks[task]
        self.take_back(task)
        again.done = again.fixed = False
        again.missing = {key for key in again.inputs if not self.tasks[key].done}
        for key in again.consumers:
            if key in self.tasks and not self.tasks[key].done:
                self.tasks[key].missing.add(task)
                self.ready.pop(key, None)
        self.offer(task)

    def task_placed(self, task, worker):
        self.ready.pop(task, None)
        self.give(task, worker)

    def task_finished(self, task, worker, nbytes, duration):
        done = self.tasks[task]
        self.take_back(task)
        self.ready.pop(task, None)
        done.done, done.nbytes, done.holders = True, nbytes, {worker}
        for key in done.consumers:
            if key in self.tasks:
                self.tasks[key].missing.discard(task)
                self.offer(key)

    def task_removed(self, task):
        self.take_back(task)
        self.ready.pop(task, None)
        del self.tasks[task]

    def steal_response(self, task, success, **places):
        if task in self.tasks and not success:
            self.tasks[task].fixed = True
            self.give(task, places["from"])

    # What to do about it.

    def offer(self, key):
        task = self.tasks[key]
        if not task.missing and not task.done and not task.tied and task.worker is None:
            self.ready[key] = None

    def give(self, key, worker):
        self.take_back(key)
        self.tasks[key].worker = worker
        if worker in self.workers:
            self.workers[worker].tasks.append(key)

    def take_back(self, key):
        worker = self.workers.get(self.tasks[key].worker)
        if worker is not None:
            worker.tasks.remove(key)
        self.tasks[key].worker = None

    def decide(self):
        running = {number: worker for number, worker in self.workers.items() if worker.running}
        assignments = []
        for key in list(self.ready) if running else ():
            inputs = [self.tasks[i] for i in self.tasks[key].inputs]
            held = lambda number: sum(i.nbytes for i in inputs if number in i.holders)  # noqa: E731
            best = min(running, key=lambda number: (int(running[number].load), -held(number), number))
            self.give(key, best)
            assignments.append([key, best])
        self.ready.clear() if running else None
        return assignments + self.steals(running)

    def steals(self, running):
        assignments = []
        for thief, worker in running.items():
            if worker.tasks or not running:
                continue
            victim = max(running.values(), key=lambda other: other.load)
            movable = [k for k in victim.tasks if not self.tasks[k].fixed and not self.tasks[k].tied]
            if len(victim.tasks) > victim.threads and movable:
                self.give(movable[-1], thief)
                assignments.append([movable[-1], thief])
        return assignments


def read(stream):
    """A message: its length in four bytes, little-endian, then msgpack. None at the end."""
    header = stream.read(4)
    if len(header) < 4:
        return None
    return msgpack.unpackb(stream.read(struct.unpack("<I", header)[0]))


def write(stream, message):
    packed = msgpack.packb(message)
    stream.write(struct.pack("<I", len(packed)) + packed)
    stream.flush()


def main():
    policy = Greedy()
    while (message := read(sys.stdin.buffer)) is not None:
        for news in message["news"]:
            op = news.pop("op")
            getattr(policy, op.replace("-", "_"))(**news)
        write(sys.stdout.buffer, {"batch": message["batch"], "assignments": policy.decide()})


if __name__ == "__main__":
    main()
