import { createHash, type Hash } from "node:crypto";
import { InvariantError } from "../../src/base/assert.ts";
import { Prng } from "../../src/base/prng.ts";
import type { StimulusLog } from "../../src/core/stimuli.ts";
import { validate } from "../../src/core/validate.ts";
import { WireMap, type WireValue } from "../../src/protocol/values.ts";
import { ServerLog } from "../../src/server/peers/log.ts";
import { DEFAULT_PEER_LIMITS, DEFAULT_SERVER_SETTINGS } from "../../src/server/peers/options.ts";
import { SchedulerServer } from "../../src/server/server.ts";
import { Probe } from "../../src/trace/tracer.ts";
import { OutcomeModel } from "../checkers/outcome-model.ts";
import { StreamChecker } from "../checkers/stream-checker.ts";
import { VirtualMachine } from "../clock/virtual-machine.ts";
import { releaseTraits } from "../fleet/release.ts";
import type { Wire } from "../network/virtual-connection.ts";
import { VirtualNetwork } from "../network/virtual-network.ts";
import type { PlannedTask, WorldPlan } from "./plan.ts";
import type { SentOps } from "./strangers.ts";
import { VirtualClient } from "./virtual-client.ts";
import type { Outcome } from "./virtual-worker.ts";
import { type HostFacts, WorkerHost } from "./worker-host.ts";

const WORKERS_MAX = 8;

/** Whoever wants to see what happens, line by line. */
export type Witness = (line: string) => void;

/**
 * The scheduler's whole server, as it serves sockets, in a world of one thread: its machine and its network are virtual,
 * its workers and clients state machines of their own. All that happens follows from the plan.
 */
export class FaultWorld {
  readonly plan: WorldPlan;
  readonly tasks: ReadonlyMap<string, PlannedTask>;
  readonly machine: VirtualMachine;
  readonly network: VirtualNetwork;
  readonly server: SchedulerServer;
  readonly checker: StreamChecker;
  readonly model: OutcomeModel;
  /** Lots of peers and faults. */
  readonly chance: Prng;
  readonly hosts: WorkerHost[] = [];
  readonly clients: VirtualClient[] = [];
  /** How often each kind of thing happened. */
  readonly counts = new Map<string, number>();
  /** What strangers have sent. */
  readonly ops: SentOps = new Map();
  /** Keys whose scatter is not answered yet, and those that were scattered at all: each is once. */
  readonly scattering = new Set<string>();
  readonly scattered = new Set<string>();
  /** Messages that the server was handed, and turns that it took. */
  stimuli = 0;
  /** Faults are over, and workers that are missing are replaced. */
  healing = false;
  readonly #hash: Hash = createHash("sha256");
  readonly #witness: Witness | null;
  readonly #failures = new Map<string, number>();
  #turns = 0;
  #joined = 0;
  #changed = false;
  #bug: string | null = null;

  constructor(plan: WorldPlan, witness: Witness | null = null, stimuli: StimulusLog | null = null) {
    this.plan = plan;
    this.#witness = witness;
    this.tasks = new Map(plan.tasks.map((task) => [task.key, task]));
    this.chance = new Prng(plan.seed + 1e9);
    this.machine = new VirtualMachine(new Prng(plan.seed + 2e9), plan.turn_delay_ns);
    this.network = new VirtualNetwork(this.machine, new Prng(plan.seed + 3e9), plan, (...what) =>
      this.#seen(...what),
    );
    this.server = new SchedulerServer({
      listen_address: "tcp://10.0.0.1:8786",
      contact_host: null,
      scheduler: plan.scheduler,
      seed: plan.seed,
      python: null,
      limits: DEFAULT_PEER_LIMITS,
      settings: { ...DEFAULT_SERVER_SETTINGS, allowed_failures: plan.allowed_failures },
      log: new ServerLog(
        "distributed.scheduler",
        ({ text }) => this.#logged(text),
        () => this.machine.wall_ms(),
      ),
      version: "0.0.0",
      probe: new Probe(),
      transport: this.network,
      clock: this.machine,
      machine: this.machine,
      ...(stimuli === null ? {} : { stimuli }),
      turn_tasks_max: plan.turn_tasks_max,
    });
    this.checker = new StreamChecker(this.server, releaseTraits(plan.release), (what) => this.count(what));
    this.model = new OutcomeModel(
      this.tasks,
      plan.allowed_failures,
      this.checker.suspicions,
      this.checker.lost,
    );
  }

  async start(): Promise<void> {
    this.server.memory.start();
    await this.server.start();
    this.server.peers.startTimers(this.plan.worker_ttl_ms, null);
  }

  /** Those who are there from the beginning come. */
  settle(): void {
    for (let i = 0; i < this.plan.workers; i++) this.join(this.chance.u32(), this.chance.u32());
    for (let i = 0; i < this.plan.clients; i++) this.clientJoins();
  }

  /** Lets the world run until `until_ns`, and checks it whenever the server has done something. */
  async runUntil(until_ns: number): Promise<void> {
    while (await this.machine.step(until_ns)) this.#check();
  }

  /** Of all that went over wires, with its times: equal runs have equal ones. */
  digest(): string {
    return this.#hash.copy().digest("hex");
  }

  // ---- those who live here

  /** A worker joins: under a name of its own, or one that was here before. */
  join(a: number, b: number, resources = b % 3 === 0): WorkerHost | null {
    if (this.living().length >= WORKERS_MAX) return null;
    const number = this.#joined++;
    const name = `w${number % 4 === number ? number : number + (a % 2) * 100}`;
    return this.joinAs({
      address: `tcp://10.0.${b % 2}.2:${10_000 + number}`,
      name,
      threads: 1 + (a % 3),
      resources: resources ? { GPU: 1 } : {},
    });
  }

  joinAs(facts: HostFacts): WorkerHost {
    const host = new WorkerHost(this, facts);
    this.hosts.push(host);
    return host;
  }

  living(): WorkerHost[] {
    return this.hosts.filter((host) => !host.gone);
  }

  /** Some registered worker, or undefined. */
  host(a: number): WorkerHost | undefined {
    const registered = this.hosts.filter((host) => host.registered && !host.gone);
    return registered[a % Math.max(1, registered.length)];
  }

  clientJoins(): VirtualClient {
    const client = new VirtualClient(this, `Client-${this.clients.length}`);
    this.clients.push(client);
    return client;
  }

  client(a: number): VirtualClient | undefined {
    const present = this.clients.filter((client) => client.registered && !client.gone);
    return present[a % Math.max(1, present.length)];
  }

  /** Whoever is behind the worker's death lets it come back, or not. */
  hostEnded(host: WorkerHost, why: string): void {
    this.#say(() => `worker ${host.facts.name} ends: ${why}`);
    if (this.healing || why === "closed" || this.chance.below(3) === 0) return;
    const delay_ns = this.chance.below(1000) * 1e6;
    this.machine.at(this.machine.now_ns + delay_ns, () => {
      if (this.living().every(({ facts }) => facts.name !== host.facts.name)) {
        this.count("worker back at the same address");
        this.joinAs(host.facts);
      }
    });
  }

  workerKilled(host: WorkerHost): void {
    host.kill();
  }

  clientEnded(client: VirtualClient): void {
    this.#say(() => `client ${client.name} ends`);
  }

  /** How the code of a task ends, this time. */
  outcome(key: string): Outcome {
    const task = this.tasks.get(key);
    if (task === undefined || task.fate === "done") return "done";
    if (task.fate === "kills") return "death";
    if (task.fate === "fails") return "error";
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    return failures < task.failures ? "error" : "done";
  }

  /** One worker asks another for a key. */
  askWorker(address: string, key: string, answer: (value: number | undefined | null) => void): void {
    const host = this.living().find(({ facts }) => facts.address === address);
    if (host === undefined) answer(null);
    else host.ask(key, answer);
  }

  /** A request on a connection of its own; undefined: it was never answered. */
  request(name: string, message: WireMap, answer: (reply: WireValue | undefined) => void): Wire {
    let answered = false;
    const once = (reply: WireValue | undefined): void => {
      if (!answered) answer(reply);
      answered = true;
    };
    const wire = this.network.dial(name, {
      onMessage: (reply) => {
        once(reply);
        wire.close();
      },
      onEnd: () => once(undefined),
    });
    wire.send(message.set("reply", true));
    return wire;
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  note(text: string): void {
    this.#say(() => text);
  }

  // ---- what is seen of it

  #seen(wire: Wire, way: "out" | "in", value: WireValue, bytes: Uint8Array): void {
    // A heartbeat moves no task: its server need not be looked through.
    const idle = value instanceof WireMap && value.get("op") === "heartbeat_worker";
    if (way === "in" && !idle) this.#changed = true;
    if (way === "in") this.stimuli++;
    this.#hash.update(`${this.machine.now_ns} ${way} ${wire.name} ${bytes.length}\n`);
    this.#hash.update(bytes);
    this.#say(() => `${way === "in" ? "<-" : "->"} ${wire.name}: ${summary(value, bytes)}`);
    if (way === "in") this.checker.in(wire, value);
    else this.checker.out(wire, value);
  }

  #logged(text: string): void {
    this.#say(() => `log: ${text}`);
    if (/\bbug\b|\.[jt]s:\d+/.test(text)) this.#bug ??= text;
  }

  #say(line: () => string): void {
    this.#witness?.(`${(this.machine.now_ns / 1e6).toFixed(3)} ${line()}`);
  }

  #check(): void {
    if (this.#bug !== null) throw new InvariantError(this.#bug);
    const turned = this.server.loop.turns !== this.#turns;
    if (!turned && !this.#changed) return;
    this.#changed = false;
    validate(this.server.scheduler);
    if (!turned) return;
    this.#turns = this.server.loop.turns;
    this.stimuli++;
    // While there is more to be placed, nothing is written of what was.
    if (!this.plan.strangers && !this.server.scheduler.placing) this.checker.check();
  }
}

function summary(value: WireValue, bytes: Uint8Array): string {
  if (Array.isArray(value)) return value.map((item) => summary(item, bytes)).join("; ");
  if (!(value instanceof WireMap)) return value === null ? `${bytes.length} bytes` : String(value);
  const shown: string[] = [];
  for (const name of ["key", "keys", "run_id", "state", "status", "stimulus_id", "worker", "who_has"]) {
    const field = value.get(name);
    if (field === undefined) continue;
    shown.push(
      `${name}=${field instanceof WireMap ? field.keys.map((key, i) => `${key}:${field.values[i]}`) : field}`,
    );
  }
  return `${String(value.get("op") ?? "reply")} ${shown.join(" ")}`;
}
