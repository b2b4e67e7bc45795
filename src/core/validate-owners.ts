import { InvariantError } from "../base/assert.ts";
import { NONE, type TaskId, type WorkerId } from "../base/ids.ts";
import type { Books } from "./books.ts";
import type { Relation } from "./relation.ts";
import { MEMORY, PROCESSING } from "./states.ts";
import { FLAG_LONG_RUNNING } from "./task-table.ts";
import type { WorkerBook } from "./worker-book.ts";

/** INVARIANTS W and C: the books of workers and clients agree with those of the tasks. */
export function validateOwners(books: Books): void {
  let processing = 0;
  let held_bytes = 0;
  let memory_limit_min_bytes = Number.POSITIVE_INFINITY;
  for (const worker of books.workers) {
    if (worker === null) continue;
    held_bytes += worker.nbytes;
    memory_limit_min_bytes = Math.min(memory_limit_min_bytes, worker.memory_limit_bytes);
    validateProcessing(books, worker);
    validateHoldings(books, worker);
    validateLoad(books, worker);
    processing += worker.processing;
  }
  for (let task = 0; task < books.tasks.top; task++) if (books.tasks.state[task] === PROCESSING) processing--;
  if (processing !== 0) throw new InvariantError(`${-processing} processing tasks are in no worker's list`);
  if (Math.abs(held_bytes - books.held_bytes) > 1e-6 * held_bytes)
    throw new InvariantError(`workers hold ${held_bytes} bytes together, not ${books.held_bytes}`);
  if (memory_limit_min_bytes !== books.memory_limit_min_bytes)
    throw new InvariantError(`the least memory limit is ${memory_limit_min_bytes} bytes`);
  validateNeeds(books);
  validateSteals(books);
  validateLists(books);
  validateIds(books.workers, books.free_workers, books.replicas, "worker");
  validateIds(books.workers, books.free_workers, books.needs, "worker");
  validateIds(books.clients, books.free_clients, books.wants, "client");
}

function breach(worker: WorkerBook, rule: string): never {
  throw new InvariantError(`worker ${worker.id} ${worker.address} (${worker.status}): ${rule}`);
}

/** W2, W5, W10: the list of processing tasks, in order of assignment, and the resources that they use. */
function validateProcessing(books: Books, worker: WorkerBook): void {
  const { tasks } = books;
  let count = 0;
  let long_running = 0;
  let before: TaskId = NONE;
  for (let task = worker.first_processing; task !== NONE; task = tasks.next_processing[task]!) {
    if (tasks.state[task] !== PROCESSING || tasks.processing_on[task] !== worker.id)
      breach(worker, `task ${task} is in its list but not with it`);
    if (tasks.previous_processing[task] !== before) breach(worker, `task ${task}: list is broken`);
    if (before !== NONE && tasks.run_id[task]! <= tasks.run_id[before]!)
      breach(worker, `M4: run_id of task ${task} does not grow`);
    if (++count > worker.processing) breach(worker, "list is longer than its count");
    if (tasks.flags[task]! & FLAG_LONG_RUNNING) long_running++;
    before = task;
  }
  if (worker.last_processing !== before || worker.processing !== count) breach(worker, `processes ${count}`);
  if (worker.long_running !== long_running) breach(worker, `W5: ${long_running} long-running`);
  validateResources(books, worker);
}

function validateResources(books: Books, worker: WorkerBook): void {
  const used = new Map<string, number>();
  for (let task = worker.first_processing; task !== NONE; task = books.tasks.next_processing[task]!)
    for (const [name, amount] of books.restrictions.get(task)?.resources ?? [])
      used.set(name, (used.get(name) ?? 0) + amount);
  for (const name of new Set([...used.keys(), ...worker.used_resources.keys()]))
    if (Math.abs((used.get(name) ?? 0) - (worker.used_resources.get(name) ?? 0)) > 1e-9)
      breach(worker, `W10: uses ${used.get(name) ?? 0} of ${name}`);
}

/** W1, W3: it holds results in memory only, and their sizes add up. */
function validateHoldings(books: Books, worker: WorkerBook): void {
  const { tasks, replicas } = books;
  let nbytes = 0;
  for (let r = replicas.first_of_owner[worker.id]!; r !== NONE; r = replicas.next_of_owner[r]!) {
    const task = replicas.task[r]!;
    if (tasks.state[task] !== MEMORY) breach(worker, `holds task ${task}, which is not in memory`);
    nbytes += Math.max(0, tasks.nbytes[task]!);
  }
  if (Math.abs(nbytes - worker.nbytes) > 1e-6 * nbytes) breach(worker, `W3: holds ${nbytes} bytes`);
}

/** W6, W7, W12: who counts as running, underloaded, overloaded. */
function validateLoad(books: Books, worker: WorkerBook): void {
  const running = worker.status === "running";
  const { load, threads, id } = worker;
  if (load < 0) breach(worker, `has a load of ${load}`);
  if (books.running.has(id) !== running) breach(worker, "W7: running");
  if (books.underloaded.has(id) !== (running && load < threads)) breach(worker, `underloaded at ${load}`);
  if (books.overloaded.has(id) !== (running && load > threads)) breach(worker, `overloaded at ${load}`);
}

function validateLists(books: Books): void {
  for (const list of [books.running, books.underloaded, books.overloaded])
    for (const id of list.items.subarray(0, list.length))
      if (!list.has(id) || books.workers[id] == null) throw new InvariantError(`worker ${id} is listed`);
}

/** W4: for each worker and datum that it lacks, how many of its tasks need it. */
function validateNeeds(books: Books): void {
  const { needs } = books;
  const expected = expectedNeeds(books);
  if (needs.live !== expected.size)
    throw new InvariantError(`W4: ${expected.size} needs, ${needs.live} booked`);
  for (const worker of books.workers) {
    if (worker === null) continue;
    for (let r = needs.first_of_owner[worker.id]!; r !== NONE; r = needs.next_of_owner[r]!)
      if (expected.get(`${needs.task[r]} on ${worker.id}`) !== needs.tally[r])
        breach(worker, `W4: task ${needs.task[r]} is needed ${needs.tally[r]} times`);
  }
}

function expectedNeeds(books: Books): Map<string, number> {
  const { tasks, edges, replicas } = books;
  const expected = new Map<string, number>();
  for (const worker of books.workers) {
    if (worker === null) continue;
    for (let task = worker.first_processing; task !== NONE; task = tasks.next_processing[task]!)
      for (let e = edges.first[task]!, end = e + edges.count[task]!; e < end; e++) {
        const pair = `${edges.dependency[e]} on ${worker.id}`;
        if (!replicas.has(edges.dependency[e]!, worker.id)) expected.set(pair, (expected.get(pair) ?? 0) + 1);
      }
  }
  return expected;
}

/** M9: each steal is of a task that its victim has, and the counters add up. */
function validateSteals(books: Books): void {
  const steals_in = new Map<WorkerBook, number>();
  const steals_out = new Map<WorkerBook, number>();
  for (const [task, { victim, thief }] of books.steals) {
    if (books.tasks.processing_on[task] !== victim.id || books.workers[victim.id] !== victim)
      breach(victim, `task ${task} is stolen from it, and elsewhere`);
    if (victim === thief) breach(victim, "steals from itself");
    steals_out.set(victim, (steals_out.get(victim) ?? 0) + 1);
    steals_in.set(thief, (steals_in.get(thief) ?? 0) + 1);
  }
  for (const worker of books.workers) {
    if (worker === null) continue;
    if (worker.steals_in !== (steals_in.get(worker) ?? 0)) breach(worker, `steals_in ${worker.steals_in}`);
    if (worker.steals_out !== (steals_out.get(worker) ?? 0))
      breach(worker, `steals_out ${worker.steals_out}`);
  }
}

/** Ids are live or free, never both, and no record names an owner that is gone. C1. */
function validateIds(
  owners: readonly unknown[],
  free: readonly WorkerId[],
  relation: Relation,
  kind: string,
): void {
  const spare = new Set(free);
  if (spare.size !== free.length) throw new InvariantError(`a ${kind} id is free twice`);
  for (let id = 0; id < owners.length; id++) {
    if ((owners[id] === null) !== spare.has(id)) throw new InvariantError(`${kind} ${id} is live and free`);
    if (owners[id] === null && relation.first_of_owner[id] !== NONE)
      throw new InvariantError(`${kind} ${id} is gone and has records`);
  }
}
