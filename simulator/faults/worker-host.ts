import { WireFloat, WireMap, type WireValue } from "../../src/protocol/values.ts";
import { type ReleaseTraits, releaseTraits } from "../fleet/release.ts";
import type { Wire, WireOwner } from "../network/virtual-connection.ts";
import type { FaultWorld } from "./fault-world.ts";
import { deserialized, serialized } from "./values.ts";
import { texts, VirtualWorker, type WorkerWorld } from "./virtual-worker.ts";

/** How often a worker says that it lives, ns of virtual time; Dask's is shorter, and tells no more. */
const HEARTBEAT_NS = 0.9e9;
/** Who does not answer within this cannot be reached. */
const FETCH_TIMEOUT_NS = 4e9;
/** What a worker says within so long goes out together. */
const BATCH_NS = 2e6;

export interface HostFacts {
  readonly address: string;
  readonly name: string;
  readonly threads: number;
  readonly resources: Readonly<Record<string, number>>;
}

/**
 * One life of a worker: its connections, its heartbeats, and the {@link VirtualWorker} behind them. Who comes back at
 * the same address is another host.
 */
export class WorkerHost implements WorkerWorld {
  readonly facts: HostFacts;
  readonly worker: VirtualWorker;
  readonly #world: FaultWorld;
  readonly #traits: ReleaseTraits;
  readonly stream: Wire;
  #heartbeats: Wire | null = null;
  readonly #wires = new Set<Wire>();
  #outgoing: WireMap[] = [];
  /** Its last task-finished: to be said again. */
  last_report: WireMap | null = null;
  registered = false;
  /** Nothing of it moves. */
  hung = false;
  readonly #waiting: (() => void)[] = [];
  /** What it says is held back until then, ns. */
  stalled_until_ns = 0;
  /** It is gone, for whatever reason. */
  gone = false;
  #stimuli = 0;
  #reply_delay_ns = 0;

  constructor(world: FaultWorld, facts: HostFacts) {
    this.#world = world;
    this.facts = facts;
    this.#traits = releaseTraits(world.plan.release);
    this.worker = new VirtualWorker(facts.threads, world.plan.release, this);
    this.stream = world.network.dial(`worker ${facts.name}`, {
      onMessage: (value) => this.#onReply(value),
      onEnd: () => this.#leave("its stream ended"),
    });
    this.#wires.add(this.stream);
    this.stream.send(this.#registration());
    world.network.serve(facts.address, (wire) => this.#accept(wire));
  }

  // ---- what the world does to it

  /** It dies: nothing that it has not said is ever said. */
  kill(): void {
    const kept = this.below(200);
    for (const wire of this.#wires) wire.cut(kept, this.below(50) * 1e6, 0);
    this.#end("killed");
  }

  /** Its stream breaks; either side notices in its own time. The worker then leaves. */
  cutStream(server_delay_ns: number, own_delay_ns: number): void {
    this.stream.cut(this.below(400), server_delay_ns, own_delay_ns);
  }

  /** What it says from here on goes out at `until_ns`, in its order. */
  stall(until_ns: number): void {
    this.stalled_until_ns = until_ns;
  }

  /** Its answers to the server's requests are so late from here on. */
  delayReplies(delay_ns: number): void {
    this.#reply_delay_ns = delay_ns;
  }

  hang(hung: boolean): void {
    if (this.hung === hung || this.gone) return;
    this.hung = hung;
    for (const wire of this.#wires) wire.freeze(hung);
    if (hung) return;
    for (const callback of this.#waiting.splice(0)) callback();
    this.#flush();
  }

  /** It leaves as a worker does that is asked to. */
  close(): void {
    if (this.gone) return;
    this.#flush();
    this.stream.send([WireMap.of({ op: "close-stream" })]);
    for (const wire of this.#wires) wire.close();
    this.#end("closed");
  }

  /** Says something of the world's making. */
  sayAnything(message: WireMap): void {
    if (this.registered && !this.gone) this.say(message);
  }

  // ---- WorkerWorld

  say(message: WireMap): void {
    if (this.gone) return;
    if (message.get("op") === "task-finished") this.last_report = message;
    if (this.#outgoing.push(message) === 1) this.#flushAt(this.#world.machine.now_ns + this.below(BATCH_NS));
  }

  later(delay_ns: number, callback: () => void): void {
    const when = (): void => {
      if (this.gone) return;
      if (this.hung) this.#waiting.push(callback);
      else callback();
    };
    this.#world.machine.at(this.#world.machine.now_ns + delay_ns, when);
  }

  fetch(address: string, key: string, answer: (value: number | undefined | null) => void): void {
    const latency_ns = this.#world.plan.latency_ns;
    let answered = false;
    const once = (value: number | undefined | null): void => {
      if (!answered) this.later(latency_ns, () => answer(value));
      answered = true;
    };
    this.later(latency_ns, () => this.#world.askWorker(address, key, once));
    this.later(FETCH_TIMEOUT_NS, () => once(null));
  }

  below(bound: number): number {
    return this.#world.chance.below(bound);
  }

  duration_ns(key: string): number {
    return this.#world.tasks.get(key)?.duration_ns ?? 1e6;
  }

  nbytes(key: string): number {
    return this.#world.tasks.get(key)?.nbytes ?? 8;
  }

  outcome(key: string): ReturnType<WorkerWorld["outcome"]> {
    return this.#world.outcome(key);
  }

  die(): void {
    this.#world.count("worker killed by its task");
    this.#world.workerKilled(this);
  }

  stimulus(): string {
    return `${this.facts.name}-${++this.#stimuli}`;
  }

  /** Answers once it can: a worker that hangs does so late, or never. */
  ask(key: string, answer: (value: number | undefined) => void): void {
    this.later(0, () => answer(this.worker.data.get(key)));
  }

  // ---- its connections

  #end(why: string): void {
    if (this.gone) return;
    this.gone = true;
    this.worker.gone = true;
    this.#world.network.serve(this.facts.address, null);
    this.#world.hostEnded(this, why);
  }

  #leave(why: string): void {
    for (const wire of this.#wires) wire.close();
    this.#end(why);
  }

  #flushAt(time_ns: number): void {
    this.#world.machine.at(Math.max(time_ns, this.stalled_until_ns), () => {
      if (this.hung) return;
      if (this.stalled_until_ns > this.#world.machine.now_ns) this.#flushAt(this.stalled_until_ns);
      else this.#flush();
    });
  }

  #flush(): void {
    if (this.#outgoing.length === 0 || this.gone) return;
    const messages = this.#outgoing;
    this.#outgoing = [];
    this.stream.send(messages);
  }

  #onReply(value: WireValue): void {
    if (!(value instanceof WireMap) || value.get("status") !== "OK") {
      this.#leave("refused");
      return;
    }
    this.registered = true;
    this.stream.owner = {
      onMessage: (list) => this.#onStream(list),
      onEnd: () => this.#leave("its stream ended"),
    };
    const stimulus_id = this.stimulus();
    this.say(WireMap.of({ op: "worker-status-change", status: "running", stimulus_id }));
    this.later(HEARTBEAT_NS, () => this.#heartbeat());
  }

  #onStream(value: WireValue): void {
    for (const message of Array.isArray(value) ? value : [value])
      if (message instanceof WireMap && !this.gone) this.worker.receive(message);
  }

  #heartbeat(): void {
    if (this.#heartbeats === null) {
      const owner: WireOwner = {
        onMessage: (reply) => {
          if (reply instanceof WireMap && reply.get("status") === "missing")
            this.#leave("the scheduler lost it");
        },
        onEnd: () => {
          this.#heartbeats = null;
        },
      };
      this.#heartbeats = this.#world.network.dial(`heartbeats of ${this.facts.name}`, owner);
      this.#wires.add(this.#heartbeats);
    }
    this.#heartbeats.send(
      WireMap.of({
        op: "heartbeat_worker",
        address: this.facts.address,
        now: new WireFloat(this.#world.machine.wall_ms() / 1000),
        metrics: this.#metrics(),
        executing: new WireMap(),
        extensions: new WireMap(),
        reply: true,
      }),
    );
    this.later(HEARTBEAT_NS, () => this.#heartbeat());
  }

  #metrics(): WireMap {
    let managed_bytes = 0;
    for (const key of this.worker.data.keys()) managed_bytes += this.nbytes(key);
    return WireMap.of({
      task_counts: new WireMap(),
      bandwidth: WireMap.of({ total: 1e8, workers: new WireMap(), types: new WireMap() }),
      managed_bytes,
      spilled_bytes: WireMap.of({ memory: 0, disk: 0 }),
      event_loop_interval: 0.02,
      cpu: new WireFloat(0),
      memory: managed_bytes + 50_000_000,
      time: new WireFloat(this.#world.machine.wall_ms() / 1000),
    });
  }

  #registration(): WireMap {
    const { address, name, threads, resources } = this.facts;
    const { version, is_2022 } = this.#traits;
    const message = WireMap.of({
      op: "register-worker",
      reply: false,
      address,
      status: "init",
      nthreads: threads,
      name,
      now: new WireFloat(this.#world.machine.wall_ms() / 1000),
      resources: WireMap.of(resources),
      memory_limit: 2 ** 30,
      local_directory: "",
      services: new WireMap(),
      nanny: null,
      pid: 1,
      versions: WireMap.of({ packages: WireMap.of({ distributed: version, dask: version }) }),
      metrics: this.#metrics(),
      extra: new WireMap(),
      stimulus_id: this.stimulus(),
      server_id: `Worker-${name}`,
    });
    if (is_2022) message.set("keys", []).set("nbytes", new WireMap()).set("types", new WireMap());
    return message;
  }

  // ---- requests of the server's

  #accept(wire: Wire): WireOwner | null {
    if (this.gone) return null;
    this.#wires.add(wire);
    if (this.hung) wire.freeze(true);
    return {
      onMessage: (value) => {
        if (!(value instanceof WireMap) || this.gone) return;
        const op = String(value.get("op"));
        if (op === "close") wire.close();
        else this.#answer(op, value, (reply) => this.#reply(wire, reply));
      },
      onEnd: () => void this.#wires.delete(wire),
    };
  }

  #reply(wire: Wire, reply: WireValue): void {
    if (this.#reply_delay_ns === 0) wire.send(reply);
    else this.later(this.#reply_delay_ns, () => wire.send(reply));
  }

  #answer(op: string, request: WireMap, reply: (value: WireValue) => void): void {
    const { data } = this.worker;
    if (op === "get_data") {
      const held = texts(request.get("keys")).filter((key) => data.has(key));
      const found = WireMap.from(held.map((key) => [key, serialized(data.get(key)!)] as const));
      reply(WireMap.of({ status: "OK", data: found }));
    } else if (op === "update_data") reply(this.#updateData(request.get("data")));
    else if (op === "gather") this.#gather(reply, request.get("who_has"));
    else if (op === "free_keys") {
      for (const key of texts(request.get("keys"))) this.worker.loseData(key, true);
      reply(null);
    } else reply(WireMap.of({ status: "OK" }));
  }

  #updateData(data: WireValue | undefined): WireMap {
    const nbytes = new WireMap();
    if (data instanceof WireMap)
      for (let i = 0; i < data.size; i++) {
        const key = String(data.keys[i]);
        this.worker.hold(key, deserialized(data.values[i]) ?? 0);
        nbytes.set(key, this.nbytes(key));
      }
    return WireMap.of({ nbytes, status: "OK" });
  }

  /** Fetches keys from others, one after the other, and tells which it could not get. */
  #gather(reply: (value: WireValue) => void, who_has: WireValue | undefined): void {
    const wanted = who_has instanceof WireMap ? who_has.keys.map(String) : [];
    const failed: string[] = [];
    const next = (): void => {
      const key = wanted.pop();
      if (key === undefined) {
        const status = WireMap.of({ status: failed.length > 0 ? "partial-fail" : "OK" });
        reply(failed.length > 0 ? status.set("keys", failed) : status);
        return;
      }
      const holders = who_has instanceof WireMap ? texts(who_has.get(key)) : [];
      const holder = holders[this.below(Math.max(1, holders.length))];
      const take = (value: number | undefined | null): void => {
        if (typeof value === "number") this.worker.hold(key, value);
        else failed.push(key);
        next();
      };
      if (this.worker.data.has(key)) next();
      else if (holder === undefined) take(null);
      else this.fetch(holder, key, take);
    };
    next();
  }
}
