import { packValue } from "../../src/protocol/msgpack.ts";
import { Serialized, WireMap, WireSet, type WireValue } from "../../src/protocol/values.ts";
import { releaseTraits } from "../fleet/release.ts";
import type { Wire } from "../network/virtual-connection.ts";
import type { FaultWorld } from "./fault-world.ts";
import type { PlannedTask } from "./plan.ts";
import { serialized } from "./values.ts";
import { texts } from "./virtual-worker.ts";

/** What a client knows of one key. */
export interface KeyNews {
  /** The last that it said was that it wants the key. */
  wants: boolean;
  said_ns: number;
  /** The last that it heard of the key. */
  heard: string | null;
  /** When it heard that the key was cancelled; −1: never. */
  cancelled_ns: number;
}

const HEARTBEAT_NS = 5e9;
const PAYLOAD = new Serialized(packValue(WireMap.of({ serializer: "pickle", "num-sub-frames": 1 })), [
  new Uint8Array([1, 2, 3, 4]),
]);
/** Messages of the scheduler that say what became of a key. */
const NEWS: ReadonlySet<string> = new Set(["key-in-memory", "task-erred", "lost-data", "task-retried"]);

/** A client: what it says goes out in order, and it keeps what it heard. */
export class VirtualClient {
  readonly name: string;
  readonly stream: Wire;
  readonly news = new Map<string, KeyNews>();
  /** The scheduler has begun its stream. */
  registered = false;
  gone = false;
  /** Keys that it may use as inputs of a graph: it scattered them. */
  readonly scattered = new Set<string>();
  readonly #world: FaultWorld;

  constructor(world: FaultWorld, name: string) {
    this.#world = world;
    this.name = name;
    this.stream = world.network.dial(`client ${name}`, {
      onMessage: (value) => this.#receive(value),
      onEnd: () => this.#end(),
    });
    const { version } = releaseTraits(world.plan.release);
    const versions = WireMap.of({ packages: WireMap.of({ distributed: version, dask: version }) });
    this.stream.send(WireMap.of({ op: "register-client", client: name, reply: false, versions }));
    this.#heartbeat();
  }

  // ---- what it says

  submit(tasks: readonly PlannedTask[], wanted: readonly string[], user_priority: number): void {
    this.say(this.graphMessage(tasks, wanted, user_priority));
    for (const key of wanted) this.#said(key, true);
  }

  /** `update-graph-hlg`: a layer for each task with annotations, one for the rest. */
  graphMessage(tasks: readonly PlannedTask[], wanted: readonly string[], user_priority: number): WireMap {
    const keys = new Map(tasks.map((task, i) => [task.key, i]));
    const plain = tasks.filter((task) => task.annotations === null);
    const layers: WireValue[] = [this.#layer(plain, null)];
    for (const task of tasks)
      if (task.annotations !== null) layers.push(this.#layer([task], task.annotations));
    const priority = WireMap.from([...keys].map(([key, i]) => [key, i] as const));
    return WireMap.of({
      op: "update-graph-hlg",
      hlg: WireMap.of({ layers }),
      keys: [...wanted],
      priority,
      submitting_task: null,
      fifo_timeout: "100ms",
      user_priority,
      actors: tasks.filter(({ actor }) => actor).map(({ key }) => key),
    });
  }

  #layer(tasks: readonly PlannedTask[], annotations: PlannedTask["annotations"]): WireMap {
    const dsk = WireMap.from(tasks.map((task) => [task.key, PAYLOAD] as const));
    const inputs = tasks.map((task) => [task.key, new WireSet([...task.inputs])] as const);
    return WireMap.of({
      __module__: "dask.highlevelgraph",
      __name__: "MaterializedLayer",
      state: WireMap.of({ dsk, dependencies: WireMap.from(inputs) }),
      annotations: annotations === null ? null : wireMap(annotations),
    });
  }

  release(keys: readonly string[]): void {
    this.say(WireMap.of({ op: "client-releases-keys", keys: [...keys], client: this.name }));
    for (const key of keys) this.#said(key, false);
  }

  desire(keys: readonly string[]): void {
    this.say(WireMap.of({ op: "client-desires-keys", keys: [...keys], client: this.name }));
    for (const key of keys) this.#said(key, true);
  }

  cancel(keys: readonly string[], force: boolean): void {
    const message = WireMap.of({ op: "cancel-keys", keys: [...keys], force });
    this.say(message.set("reason", null).set("msg", null));
    for (const key of keys) this.#said(key, false);
  }

  /** The values are dealt out by the scheduler, and wanted by the client once they are there. */
  scatter(values: ReadonlyMap<string, number>): void {
    const data = WireMap.from([...values].map(([key, value]) => [key, serialized(value)] as const));
    const request = WireMap.of({
      op: "scatter",
      data,
      workers: null,
      client: this.name,
      broadcast: false,
      timeout: 1,
    });
    for (const key of values.keys()) {
      this.#said(key, true);
      this.#world.scattering.add(key);
    }
    this.#world.request(`scatter of ${this.name}`, request, (reply) => {
      const ok = Array.isArray(reply);
      for (const key of values.keys()) this.#world.scattering.delete(key);
      if (ok) for (const key of values.keys()) this.scattered.add(key);
      else for (const key of values.keys()) this.#said(key, false);
    });
  }

  say(message: WireMap): void {
    if (!this.gone) this.stream.send([message]);
  }

  /** It ends as a client does that is closed. */
  close(): void {
    this.say(WireMap.of({ op: "close-client" }));
    this.say(WireMap.of({ op: "close-stream" }));
    this.stream.close();
    this.#end();
  }

  /** It is gone in the middle of everything. */
  vanish(kept: number, delay_ns: number): void {
    this.stream.cut(kept, delay_ns, 0);
    this.#end();
  }

  wanted(): string[] {
    return [...this.news].filter(([, news]) => news.wants).map(([key]) => key);
  }

  // ---- what it hears

  #heartbeat(): void {
    this.#world.machine.at(this.#world.machine.now_ns + HEARTBEAT_NS, () => {
      if (this.gone) return;
      this.say(WireMap.of({ op: "heartbeat-client" }));
      this.#heartbeat();
    });
  }

  #receive(value: WireValue): void {
    for (const message of Array.isArray(value) ? value : [value])
      if (message instanceof WireMap) this.#take(String(message.get("op")), message);
  }

  #take(op: string, message: WireMap): void {
    const key = String(message.get("key"));
    if (op === "stream-start") this.registered = true;
    else if (op === "cancelled-keys")
      for (const one of texts(message.get("keys"))) this.#hear(one, "cancelled");
    else if (op === "cancelled-key") this.#hear(key, "cancelled");
    else if (NEWS.has(op)) this.#hear(key, op);
    else if (op === "restart") for (const one of this.news.keys()) this.#hear(one, "cancelled");
  }

  #hear(key: string, what: string): void {
    const news = this.#of(key);
    news.heard = what;
    if (what !== "cancelled") return;
    news.wants = false;
    news.cancelled_ns = this.#world.machine.now_ns;
  }

  #said(key: string, wants: boolean): void {
    const news = this.#of(key);
    news.wants = wants;
    news.said_ns = this.#world.machine.now_ns;
  }

  #of(key: string): KeyNews {
    let news = this.news.get(key);
    if (news === undefined) {
      news = { wants: false, said_ns: 0, heard: null, cancelled_ns: -1 };
      this.news.set(key, news);
    }
    return news;
  }

  #end(): void {
    if (this.gone) return;
    this.gone = true;
    this.#world.clientEnded(this);
  }
}

function wireMap(record: Readonly<Record<string, unknown>>): WireMap {
  const entries = Object.entries(record).map(([name, value]) => {
    const nested = typeof value === "object" && value !== null && !Array.isArray(value);
    return [name, nested ? wireMap(value as Record<string, unknown>) : (value as WireValue)] as const;
  });
  return WireMap.from(entries);
}
