import { toNumber, WireMap, type WireValue } from "../../src/protocol/values.ts";
import type { Release } from "../fleet/release.ts";
import { Fetches } from "./fetches.ts";
import { resultOf } from "./values.ts";

/** What a worker's task does at the moment. Cancelled: its code runs on, for nothing. */
type Phase = "waiting" | "ready" | "executing" | "long-running" | "cancelled" | "error";

/** A task that the worker was told to compute. */
interface Run {
  readonly key: string;
  /** Of the last compute-task. */
  run_id: number;
  /** Under which its code was started: what its report carries. */
  started_as: number;
  phase: Phase;
  dependencies: readonly string[];
  readonly missing: Set<string>;
  priority: readonly number[];
}

/** How the code of a task ends. */
export type Outcome = "done" | "error" | "death";

/** What a virtual worker needs of the world. */
export interface WorkerWorld {
  /** Into its stream, in order. */
  say(message: WireMap): void;
  later(delay_ns: number, callback: () => void): void;
  /** Asks another worker for a key: its value, undefined if it has none, null if it cannot be reached. */
  fetch(address: string, key: string, answer: (value: number | undefined | null) => void): void;
  /** A number below `bound`, by chance. */
  below(bound: number): number;
  duration_ns(key: string): number;
  nbytes(key: string): number;
  /** The code of the task has run. */
  outcome(key: string): Outcome;
  /** A task has killed the worker: nothing of it is heard any more. */
  die(): void;
  /** The scheduler wants it to leave. */
  close(): void;
  stimulus(): string;
}

/** Errors of tasks, as opaque to the scheduler as real ones. */
const EXCEPTION: WireValue = new Uint8Array([0x80, 0x04, 0x8c, 0x03, 0x62, 0x61, 0x64, 0x94, 0x2e]);
const NOT_STARTED: ReadonlySet<Phase> = new Set(["waiting", "ready"]);

/**
 * A worker as a state machine of its own: messages of its stream in, messages out, and nothing but the wire in common
 * with the scheduler. It behaves as `worker_state_machine.py` of distributed 2026.8 does: it fetches what a task needs,
 * runs as many as it has threads, answers steals truthfully, and lets cancelled code run on.
 */
export class VirtualWorker {
  readonly data = new Map<string, number>();
  readonly runs = new Map<string, Run>();
  readonly threads: number;
  readonly fetches: Fetches;
  readonly #world: WorkerWorld;
  readonly #release: Release;
  readonly #ready: Run[] = [];
  #busy = 0;
  /** running, paused or closing_gracefully: only the first starts tasks. */
  status = "running";
  /** Its code takes so many times as long as planned. */
  slowness = 1;
  /** Once over, nothing that was booked happens. */
  gone = false;

  constructor(threads: number, release: Release, world: WorkerWorld) {
    this.threads = threads;
    this.#release = release;
    this.#world = world;
    this.fetches = new Fetches(world, {
      gone: () => this.gone,
      needed: (key) => this.#needed(key),
      arrived: (key, value) => this.#arrived(key, value),
    });
  }

  receive(message: WireMap): void {
    const op = String(message.get("op"));
    const key = String(message.get("key") ?? "");
    if (op === "compute-task") this.#compute(message, key);
    else if (op === "free-keys") for (const one of texts(message.get("keys"))) this.#free(one);
    else if (op === "remove-replicas") for (const one of texts(message.get("keys"))) this.#dropReplica(one);
    else if (op === "steal-request") this.#stealAsked(key, message.get("stimulus_id") ?? null);
    else if (op === "acquire-replicas") this.#acquire(message.get("who_has"));
    else if (op === "refresh-who-has")
      for (const [one, holders] of holdersOf(message.get("who_has"))) this.fetches.learn(one, holders);
    else if (op === "close") this.#world.close();
    else if (op === "remove-worker") this.fetches.forgetHolder(String(message.get("worker")));
    else if (op === "worker-status-change") this.#statusChanged(message);
  }

  /** Changes its status, of its own accord or because it was told to, and says so. */
  setStatus(status: string, stimulus_id: WireValue): void {
    this.status = status;
    this.#world.say(WireMap.of({ op: "worker-status-change", status, stimulus_id }));
    this.#startSome();
  }

  // ---- what the world does to it

  /** Tasks in one of these phases, oldest first. */
  runsIn(...phases: readonly Phase[]): Run[] {
    return [...this.runs.values()].filter((run) => phases.includes(run.phase));
  }

  /** A result gets lost (spilled to a disk that failed): it tells, as a worker that notices does. */
  loseData(key: string, tells: boolean): void {
    if (!this.data.delete(key)) return;
    if (tells) this.#released(key);
    this.#missAgain(key);
  }

  /** The code of a task leaves the thread pool: its slot is free. */
  secede(key: string): void {
    const run = this.runs.get(key);
    if (run?.phase !== "executing") return;
    run.phase = "long-running";
    this.#busy--;
    const message = WireMap.of({ op: "long-running", key, compute_duration: 0.5 });
    if (this.#release === "2026.8") message.set("run_id", run.started_as);
    this.#say(message);
    this.#startSome();
  }

  /** The code of a task asks to be run elsewhere. */
  reschedule(key: string): void {
    const run = this.runs.get(key);
    if (run?.phase !== "executing") return;
    this.#busy--;
    this.runs.delete(key);
    this.#say(WireMap.of({ op: "reschedule", key }));
    this.#startSome();
  }

  /** Data that came by another way than a task: a scatter, or a copy that it was asked to take. */
  hold(key: string, value: number): void {
    // Later releases say so on the stream, too.
    if (!this.data.has(key) && this.#release !== "2022.12")
      this.#say(WireMap.of({ op: "add-keys", keys: [key] }));
    this.data.set(key, value);
    this.#arrivedLocally(key);
  }

  // ---- messages

  #compute(message: WireMap, key: string): void {
    const run_id = toNumber(message.get("run_id")) ?? 0;
    if (this.data.has(key)) {
      this.#finished(key, run_id);
      return;
    }
    const run = this.runs.get(key);
    if (run !== undefined) run.run_id = run_id;
    if (run?.phase === "cancelled") run.phase = "executing";
    if (run !== undefined && run.phase !== "error") return;
    const who_has = holdersOf(message.get("who_has"));
    const dependencies = who_has.map(([dependency]) => dependency);
    const missing = new Set(dependencies.filter((dependency) => !this.data.has(dependency)));
    const priority = message.get("priority");
    const fresh: Run = {
      key,
      run_id,
      started_as: run_id,
      phase: "waiting",
      dependencies,
      missing,
      priority: Array.isArray(priority) ? priority.map((part) => toNumber(part) ?? 0) : [],
    };
    this.runs.delete(key);
    this.runs.set(key, fresh);
    for (const [dependency, holders] of who_has)
      if (missing.has(dependency)) this.fetches.want(dependency, holders);
    this.#mayBeReady(fresh);
  }

  #free(key: string): void {
    const run = this.runs.get(key);
    if (run !== undefined) {
      if (run.phase === "executing") run.phase = "cancelled";
      else if (run.phase === "long-running") {
        run.phase = "cancelled";
        this.#busy++;
      } else if (run.phase !== "cancelled") this.#drop(run);
    }
    if (!this.data.delete(key)) return;
    this.#released(key);
    this.#missAgain(key);
  }

  #dropReplica(key: string): void {
    if (!this.data.delete(key)) return;
    this.#released(key);
    this.#missAgain(key);
  }

  #stealAsked(key: string, stimulus_id: WireValue): void {
    const run = this.runs.get(key);
    const state = run?.phase ?? (this.data.has(key) ? "memory" : null);
    if (run !== undefined && NOT_STARTED.has(run.phase)) this.#drop(run);
    this.#world.say(WireMap.of({ op: "steal-response", key, state, stimulus_id }));
  }

  #acquire(who_has: WireValue | undefined): void {
    for (const [key, holders] of holdersOf(who_has))
      if (!this.data.has(key)) this.fetches.want(key, holders, true);
  }

  #statusChanged(message: WireMap): void {
    this.setStatus(String(message.get("status")), message.get("stimulus_id") ?? null);
  }

  // ---- running

  #needed(key: string): boolean {
    for (const run of this.runs.values()) if (run.missing.has(key)) return true;
    return false;
  }

  #arrived(key: string, value: number): void {
    this.data.set(key, value);
    this.#say(WireMap.of({ op: "add-keys", keys: [key] }));
    this.#arrivedLocally(key);
  }

  #arrivedLocally(key: string): void {
    for (const run of [...this.runs.values()]) if (run.missing.delete(key)) this.#mayBeReady(run);
  }

  /** Tasks that have not started need the key again. */
  #missAgain(key: string): void {
    for (const run of this.runs.values()) {
      if (!NOT_STARTED.has(run.phase) || !run.dependencies.includes(key)) continue;
      if (run.phase === "ready") this.#ready.splice(this.#ready.indexOf(run), 1);
      run.phase = "waiting";
      run.missing.add(key);
      this.fetches.want(key, []);
    }
  }

  #mayBeReady(run: Run): void {
    if (run.phase !== "waiting" || run.missing.size > 0) return;
    run.phase = "ready";
    this.#ready.push(run);
    this.#ready.sort((one, other) => compare(one.priority, other.priority));
    this.#startSome();
  }

  #drop(run: Run): void {
    this.runs.delete(run.key);
    const at = this.#ready.indexOf(run);
    if (at >= 0) this.#ready.splice(at, 1);
  }

  #startSome(): void {
    while (this.status === "running" && !this.gone && this.#busy < this.threads) {
      const run = this.#ready.shift();
      if (run === undefined) return;
      this.#start(run);
    }
  }

  #start(run: Run): void {
    run.phase = "executing";
    run.started_as = run.run_id;
    this.#busy++;
    const inputs = [...run.dependencies].sort().map((dependency) => this.data.get(dependency) ?? 0);
    const value = resultOf(run.key, inputs);
    this.#world.later(this.#world.duration_ns(run.key) * this.slowness, () => this.#ended(run, value));
  }

  #ended(run: Run, value: number): void {
    if (this.gone || this.runs.get(run.key) !== run) return;
    if (run.phase !== "long-running") this.#busy--;
    if (run.phase === "cancelled") this.runs.delete(run.key);
    else this.#report(run, value);
    this.#startSome();
  }

  #report(run: Run, value: number): void {
    const outcome = this.#world.outcome(run.key);
    if (outcome === "death") {
      this.#world.die();
      return;
    }
    if (outcome === "error") {
      run.phase = "error";
      this.#erred(run);
      return;
    }
    this.runs.delete(run.key);
    this.data.set(run.key, value);
    this.#finished(run.key, run.started_as);
    this.#arrivedLocally(run.key);
  }

  // ---- reports

  #finished(key: string, run_id: number): void {
    const message = WireMap.of({ op: "task-finished", key });
    if (this.#release !== "2022.12") message.set("run_id", run_id);
    message
      .set("nbytes", this.#world.nbytes(key))
      .set("type", TYPE)
      .set("typename", "int")
      .set("metadata", new WireMap())
      .set("thread", 1)
      .set("startstops", [WireMap.of({ action: "compute", start: 1.5, stop: 2.5 })])
      .set("status", "OK");
    this.#say(message);
  }

  #erred(run: Run): void {
    const message = WireMap.of({ op: "task-erred", key: run.key });
    if (this.#release !== "2022.12") message.set("run_id", run.started_as);
    message
      .set("exception", EXCEPTION)
      .set("traceback", null)
      .set("exception_text", `bad ${run.key}`)
      .set("traceback_text", "")
      .set("thread", 1)
      .set("startstops", [])
      .set("status", "error");
    this.#say(message);
  }

  #released(key: string): void {
    this.#say(WireMap.of({ op: "release-worker-data", key }));
  }

  #say(message: WireMap): void {
    this.#world.say(message.set("stimulus_id", this.#world.stimulus()));
  }
}

const TYPE = new Uint8Array([0x80, 0x04, 0x8c, 0x03, 0x69, 0x6e, 0x74, 0x94, 0x2e]);

/** A map of keys to addresses. */
function holdersOf(value: WireValue | undefined): [string, string[]][] {
  if (!(value instanceof WireMap)) return [];
  return value.keys.map((key, i) => [String(key), texts(value.values[i])]);
}

export function texts(value: WireValue | undefined): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

function compare(one: readonly number[], other: readonly number[]): number {
  for (let i = 0; i < one.length && i < other.length; i++)
    if (one[i] !== other[i]) return one[i]! - other[i]!;
  return 0;
}
