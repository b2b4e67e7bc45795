import { PROCESSING } from "../../src/core/states.ts";
import { WireMap } from "../../src/protocol/values.ts";
import type { FaultWorld } from "./fault-world.ts";
import { ALIASES, type PlannedTask, SCATTERED } from "./plan.ts";
import { strangeMessage } from "./strangers.ts";
import { deserialized } from "./values.ts";

/** What a step does; `a` and `b` are any numbers. Answers false where there was nothing to do it to. */
type Move = (world: FaultWorld, a: number, b: number) => boolean;

/** One task of a worker in the given phases, if there is one. */
function runOf(world: FaultWorld, a: number, b: number, ...phases: ("executing" | "ready" | "waiting")[]) {
  const host = world.host(a);
  const runs = host?.worker.runsIn(...phases) ?? [];
  const run = runs[b % Math.max(1, runs.length)];
  return host === undefined || run === undefined ? null : { host, run };
}

/** Some of the planned tasks with all that they are made of. */
function graphOf(world: FaultWorld, a: number, b: number): { tasks: PlannedTask[]; wanted: string[] } {
  const { tasks } = world.plan;
  const wanted = new Set<string>();
  for (let i = 0; i <= a % 5; i++) wanted.add(tasks[(b + i * (1 + (a % 3))) % tasks.length]!.key);
  const needed = new Set(wanted);
  for (const task of [...tasks].reverse())
    if (needed.has(task.key)) for (const input of task.inputs) needed.add(input);
  const graph = tasks.filter((task) => needed.has(task.key));
  return { tasks: graph, wanted: a % 7 === 0 ? graph.map((task) => task.key) : [...wanted] };
}

function someOf(keys: readonly string[], a: number, b: number): string[] {
  return keys.filter((_, i) => ((a >> (i % 16)) ^ b) & 1);
}

const submit: Move = (world, a, b) => {
  const client = world.client(a >> 3);
  if (client === undefined) return false;
  const { tasks, wanted } = graphOf(world, a, b);
  // Most clients know what they may use; one that does not loses its graph.
  const lacks = tasks.some((task) =>
    task.inputs.some((input) => input.startsWith("s") && !client.scattered.has(input)),
  );
  if (lacks && b % 5 > 0) return false;
  // Others may have submitted some of these tasks before, with other annotations.
  client.submit(b % 7 === 3 ? tasks.map((task) => otherwise(task, a)) : tasks, wanted, b % 3);
  return true;
};

/** The same task, annotated in another way; what decides how it ends stays. */
function otherwise(task: PlannedTask, a: number): PlannedTask {
  const retries = task.failures > 0 ? { retries: task.failures } : {};
  const elsewhere = { workers: [ALIASES[a % ALIASES.length]!], allow_other_workers: true };
  return { ...task, annotations: { ...retries, ...(a % 2 === 0 ? elsewhere : {}), priority: a % 5 } };
}

const release: Move = (world, a, b) => {
  const client = world.client(a);
  const keys = someOf(client?.wanted() ?? [], a, b);
  if (client === undefined || keys.length === 0) return false;
  client.release(keys);
  return true;
};

const cancel: Move = (world, a, b) => {
  const client = world.client(a);
  const keys = someOf(client?.wanted() ?? [], b, a).slice(0, 3);
  if (client === undefined || keys.length === 0) return false;
  client.cancel(keys, b % 4 === 0);
  return true;
};

const retry: Move = (world, a, b) => {
  const client = world.client(a);
  const keys = [...(client?.news ?? [])].filter(([, news]) => news.wants && news.heard === "task-erred");
  if (client === undefined || keys.length === 0) return false;
  const wanted = someOf(
    keys.map(([key]) => key),
    a,
    b,
  );
  world.request(
    `retry of ${client.name}`,
    WireMap.of({ op: "retry", keys: wanted, client: client.name }),
    () => undefined,
  );
  return wanted.length > 0;
};

const gather: Move = (world, a, b) => {
  const client = world.client(a);
  const keys = someOf(client?.wanted() ?? [], a, b);
  if (client === undefined || keys.length === 0) return false;
  world.request(`gather of ${client.name}`, WireMap.of({ op: "gather", keys }), (reply) =>
    checkGathered(world, reply),
  );
  return true;
};

/** What a gather brings is what the tasks make. */
export function checkGathered(world: FaultWorld, reply: unknown): number {
  const data = reply instanceof WireMap ? reply.get("data") : null;
  if (!(data instanceof WireMap)) return 0;
  for (let i = 0; i < data.size; i++) {
    const key = String(data.keys[i]);
    if (deserialized(data.values[i]) !== world.model.result(key))
      throw new Error(`gather brought something else for ${key} than its task makes`);
  }
  return data.size;
}

const scatter: Move = (world, a, b) => {
  const client = world.client(a);
  const key = SCATTERED[b % SCATTERED.length]!;
  // The reply and the workers' streams are different connections: what becomes of an earlier copy may come after the later one.
  if (client === undefined || world.scattered.has(key)) return false;
  world.scattered.add(key);
  client.scatter(new Map([[key, world.model.result(key)]]));
  return true;
};

const desire: Move = (world, a, b) => {
  const client = world.client(a);
  const other = world.client(b);
  // As who gets another's future: the key is known to be wanted.
  const keys = other === undefined || other === client ? [] : someOf(other.wanted(), a, b);
  if (client === undefined || keys.length === 0) return false;
  client.desire(keys);
  return true;
};

const vanish: Move = (world, a, b) => {
  const client = world.client(a);
  if (client === undefined || b % 3 > 0) return false;
  if (b % 2 === 0) client.vanish(a % 300, (b % 100) * 1e6);
  else client.close();
  world.clientJoins();
  return true;
};

const kill: Move = (world, a) => {
  const host = world.host(a);
  host?.kill();
  return host !== undefined;
};

const close: Move = (world, a) => {
  const host = world.host(a);
  host?.close();
  return host !== undefined;
};

const cutStream: Move = (world, a, b) => {
  const host = world.host(a);
  host?.cutStream((b % 300) * 1e6, (a % 300) * 1e6);
  return host !== undefined;
};

const hang: Move = (world, a, b) => {
  const host = world.host(a);
  if (host === undefined || host.hung) return false;
  host.hang(true);
  world.machine.at(world.machine.now_ns + (b % 5_000) * 1e6, () => host.hang(false));
  return true;
};

const slow: Move = (world, a, b) => {
  const host = world.host(a);
  if (host === undefined) return false;
  host.worker.slowness = 1 + (b % 20);
  return true;
};

const pause: Move = (world, a, b) => {
  const host = world.host(a);
  if (host === undefined) return false;
  host.worker.setStatus(host.worker.status === "running" ? "paused" : "running", `pause-${b}`);
  return true;
};

const retire: Move = (world, a, b) => {
  const host = world.host(a);
  if (host === undefined || world.living().length < 2) return false;
  const message = WireMap.of({
    op: "retire_workers",
    workers: [host.facts.address],
    close_workers: b % 2 === 0,
    remove: true,
  });
  world.request("retire", message, () => undefined);
  return true;
};

/** Whatever the worker says from here on comes late, in its order. */
const stall: Move = (world, a, b) => {
  const host = world.host(a);
  if (host === undefined) return false;
  host.stall(world.machine.now_ns + (b % 1_000) * 1e6);
  return true;
};

const lateReplies: Move = (world, a, b) => {
  const host = world.host(a);
  host?.delayReplies((b % 400) * 1e6);
  return host !== undefined;
};

const repeatReport: Move = (world, a) => {
  const host = world.host(a);
  const report = host?.last_report ?? null;
  if (host === undefined || report === null || !host.worker.data.has(String(report.get("key")))) return false;
  host.sayAnything(report);
  return true;
};

/** A report of a run that never was, from a worker that has the result. */
const staleReport: Move = (world, a, b) => {
  const found = runOf(world, a, b, "executing", "ready", "waiting");
  if (found === null || world.plan.release === "2022.12") return false;
  const { host, run } = found;
  const op = b % 2 === 0 ? "task-erred" : "long-running";
  host.sayAnything(
    WireMap.of({
      op,
      key: run.key,
      run_id: run.run_id + 1_000_000,
      stimulus_id: "stale",
      nbytes: 1,
      exception: null,
      compute_duration: 0.1,
    }),
  );
  return op === "task-erred" || world.plan.release === "2026.8";
};

const loseData: Move = (world, a, b) => {
  const host = world.host(a);
  const keys = [...(host?.worker.data.keys() ?? [])].filter((key) => !world.scattering.has(key));
  const key = keys[b % Math.max(1, keys.length)];
  if (host === undefined || key === undefined) return false;
  host.worker.loseData(key, true);
  return true;
};

const secede: Move = (world, a, b) => {
  const found = runOf(world, a, b, "executing");
  found?.host.worker.secede(found.run.key);
  return found !== null;
};

const reschedule: Move = (world, a, b) => {
  const found = runOf(world, a, b, "executing");
  found?.host.worker.reschedule(found.run.key);
  return found !== null;
};

/** Any request or message that is none of Dask's: it may only cost the connection that it came on. */
const garbage: Move = (world, a, b) => {
  const host = b % 4 === 0 ? world.host(a) : undefined;
  const wire =
    host?.stream ?? world.network.dial("garbage", { onMessage: () => undefined, onEnd: () => undefined });
  const bytes = new Uint8Array(16 + (a % 64));
  for (let i = 0; i < bytes.length; i++) bytes[i] = world.chance.below(256);
  wire.sendBytes(bytes);
  if (host === undefined) wire.close();
  return true;
};

const replicate: Move = (world, a, b) => {
  const client = world.client(a);
  const keys = someOf(client?.wanted() ?? [], a, b);
  if (keys.length === 0) return false;
  const op = b % 2 === 0 ? "replicate" : "rebalance";
  world.request(op, WireMap.of({ op, keys, n: 1 + (a % 3), workers: null, delete: true }), () => undefined);
  return true;
};

/** A task is asked back for another worker, as a policy may at any time; the answer comes late, or one of the two is gone. */
const steal: Move = (world, a, b) => {
  const { scheduler, cluster, loop } = world.server;
  const { books } = scheduler;
  const peers = [...cluster.workers.values()];
  const thief = peers[a % Math.max(1, peers.length)];
  if (thief === undefined) return false;
  const thief_id = cluster.book(thief).id;
  const stealable: number[] = [];
  for (let task = 0; task < books.tasks.top; task++)
    if (
      books.tasks.state[task] === PROCESSING &&
      books.running.has(thief_id) &&
      books.stealable(task, thief_id)
    )
      stealable.push(task);
  const task = stealable[b % Math.max(1, stealable.length)];
  if (task === undefined) return false;
  const victim = books.worker(books.tasks.processing_on[task]!).address;
  scheduler.steal(task, thief_id);
  loop.touch();
  const hostAt = (address: string) => world.living().find(({ facts }) => facts.address === address);
  const delay_ns = (a % 40) * 1e6;
  if (b % 4 === 1) hostAt(victim)?.stall(world.machine.now_ns + 100e6);
  if (b % 4 === 2) world.machine.at(world.machine.now_ns + delay_ns, () => hostAt(thief.address)?.kill());
  if (b % 4 === 3) world.machine.at(world.machine.now_ns + delay_ns, () => hostAt(victim)?.kill());
  world.count(["steal", "steal answered late", "thief killed", "victim killed"][b % 4]!);
  return true;
};

/** The moves by name; the likely ones stand here more than once. */
export const MOVES: readonly (readonly [string, Move])[] = [
  ["submit", submit],
  ["submit", submit],
  ["submit", submit],
  ["submit", submit],
  ["release", release],
  ["release", release],
  ["cancel", cancel],
  ["retry", retry],
  ["gather", gather],
  ["scatter", scatter],
  ["desire", desire],
  ["client gone", vanish],
  ["worker joins", (world, a, b) => world.join(a, b) !== null],
  ["worker joins", (world, a, b) => world.join(a, b) !== null],
  ["worker killed", kill],
  ["worker closes", close],
  ["stream cut", cutStream],
  ["worker hangs", hang],
  ["worker slow", slow],
  ["worker pauses or goes on", pause],
  ["worker retired", retire],
  ["worker's messages late", stall],
  ["worker's replies late", lateReplies],
  ["report repeated", repeatReport],
  ["report of another run", staleReport],
  ["data lost", loseData],
  ["data lost", loseData],
  ["task secedes", secede],
  ["task rescheduled", reschedule],
  ["garbage sent", garbage],
  ["copies made or moved", replicate],
  ["steal asked for", steal],
  ["steal asked for", steal],
];

const strange: Move = (world) => {
  strangeMessage(world, world.chance.below(4) === 0 ? "after" : "during", world.ops);
  return true;
};

/** What is done besides in worlds with strangers. */
export const STRANGE_MOVES: typeof MOVES = Array.from({ length: MOVES.length }, () => [
  "strange message",
  strange,
]);
