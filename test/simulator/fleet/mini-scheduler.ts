import type { Release } from "../../../simulator/fleet/release.ts";
import type { Connection, Listener, Transport } from "../../../src/comm/connection.ts";
import { handshakeAsListener } from "../../../src/comm/handshake.ts";
import { frameMessage } from "../../../src/protocol/frames.ts";
import { keyBytes } from "../../../src/protocol/keys.ts";
import { decodeMessage, encodeMessage } from "../../../src/protocol/message.ts";
import { Serialized, WireMap, type WireSet, type WireValue } from "../../../src/protocol/values.ts";
import { computeTask } from "./support.ts";

interface Task {
  readonly key: WireValue;
  readonly dependencies: readonly string[];
  readonly holders: Set<string>;
  waiting: number;
  readonly dependents: string[];
}

/**
 * A peer for a fleet under test: the smallest scheduler that takes a materialized graph, places tasks in turn, and
 * frees every key when its client releases the wanted ones. Objects throughout; nothing of rsds' own scheduler.
 */
export class MiniScheduler {
  readonly requests: string[] = [];
  readonly registrations: WireMap[] = [];
  readonly heartbeats: WireMap[] = [];
  readonly graphs: WireMap[] = [];
  readonly stream_ops: string[] = [];
  heartbeat_interval_s = 60;
  refuse: string | null = null;
  listener: Listener | null = null;

  readonly #release: Release;
  readonly #workers = new Map<string, Connection>();
  readonly #tasks = new Map<string, Task>();
  #client: Connection | null = null;
  #wanted = new Set<string>();
  #next_worker = 0;

  constructor(release: Release) {
    this.#release = release;
  }

  async listen(transport: Transport, address: string): Promise<string> {
    this.listener = await transport.listen(address, (connection) => void this.#serve(connection));
    return this.listener.address;
  }

  get workers(): string[] {
    return [...this.#workers.keys()];
  }

  /** Sends messages on a worker's stream. */
  tell(address: string, ...messages: WireValue[]): void {
    this.#workers.get(address)?.write(frameMessage(encodeMessage(messages)));
  }

  async close(): Promise<void> {
    for (const connection of this.#workers.values()) connection.destroy("scheduler closed");
    this.#client?.destroy("scheduler closed");
    await this.listener?.close();
  }

  async #serve(connection: Connection): Promise<void> {
    await handshakeAsListener(connection);
    connection.onClose = () => undefined;
    connection.onMessage = (message) => {
      const request = decodeMessage(message.own()) as WireMap;
      const op = String(request.get("op"));
      this.requests.push(op);
      const reply = (value: WireValue) => connection.write(frameMessage(encodeMessage(value)));
      if (op === "versions")
        reply(WireMap.of({ host: WireMap.of({}), packages: WireMap.of({ dask: "2026.8.77", numpy: "1" }) }));
      else if (op === "heartbeat_worker") {
        this.heartbeats.push(request);
        reply(WireMap.of({ status: "OK", time: 1.5, "heartbeat-interval": this.heartbeat_interval_s }));
      } else if (op === "register-client") {
        this.#client = connection;
        connection.onMessage = (batch) => this.#onClient(decodeMessage(batch.own()) as WireMap[]);
        reply([WireMap.of({ op: "stream-start" })]);
      } else if (op === "register-worker") {
        this.registrations.push(request);
        if (this.refuse !== null) reply(WireMap.of({ status: "error", message: this.refuse, time: 1.5 }));
        else this.#register(connection, String(request.get("address")), reply);
      }
    };
  }

  #register(connection: Connection, address: string, reply: (value: WireValue) => void): void {
    this.#workers.set(address, connection);
    connection.onClose = () => this.#workers.delete(address);
    connection.onMessage = (batch) => this.#onWorker(address, decodeMessage(batch.own()) as WireMap[]);
    reply(
      WireMap.of({
        status: "OK",
        time: 1.5,
        "heartbeat-interval": this.heartbeat_interval_s,
        "worker-plugins": WireMap.of({}),
      }),
    );
  }

  #onClient(messages: WireMap[]): void {
    for (const message of messages) {
      if (message.get("op") === "update-graph-hlg") this.#insert(message);
      else if (message.get("op") === "client-releases-keys") {
        const keys = [...this.#tasks.values()].map((task) => task.key);
        for (const address of this.workers)
          this.tell(address, WireMap.of({ op: "free-keys", keys, stimulus_id: "free" }));
        this.#tasks.clear();
      }
    }
  }

  #insert(message: WireMap): void {
    this.graphs.push(message);
    const layer = ((message.get("hlg") as WireMap).get("layers") as WireMap[])[0]!;
    const state = layer.get("state") as WireMap;
    const dependencies = state.get("dependencies") as WireMap;
    this.#wanted = new Set((message.get("keys") as WireValue[]).map(text));
    dependencies.keys.forEach((key, i) => {
      const needs = (dependencies.values[i] as WireSet).items.map(text);
      this.#tasks.set(text(key), {
        key,
        dependencies: needs,
        holders: new Set(),
        waiting: needs.length,
        dependents: [],
      });
    });
    for (const [name, task] of this.#tasks)
      for (const need of task.dependencies) this.#tasks.get(need)!.dependents.push(name);
    this.#place([...this.#tasks.values()].filter((task) => task.waiting === 0));
  }

  #place(tasks: readonly Task[]): void {
    const batches = new Map<string, WireValue[]>();
    const addresses = this.workers;
    for (const task of tasks) {
      const address = addresses[this.#next_worker++ % addresses.length]!;
      const message = computeTask(
        this.#release,
        task.key,
        task.dependencies.map((name) => this.#tasks.get(name)!.key),
        {
          run_spec: new Serialized(Buffer.of(0x81, 0xae, ...Buffer.from("num-sub-frames"), 1), [
            Buffer.alloc(190),
          ]),
        },
      );
      const batch = batches.get(address) ?? [];
      batch.push(message);
      batches.set(address, batch);
    }
    for (const [address, batch] of batches) this.tell(address, ...batch);
  }

  #onWorker(address: string, messages: WireMap[]): void {
    const ready: Task[] = [];
    const news: WireValue[] = [];
    for (const message of messages) {
      this.stream_ops.push(String(message.get("op")));
      if (message.get("op") !== "task-finished") continue;
      const task = this.#tasks.get(text(message.get("key") ?? null));
      if (task === undefined || task.holders.size > 0) continue;
      task.holders.add(address);
      for (const name of task.dependents) {
        const dependent = this.#tasks.get(name)!;
        if (--dependent.waiting === 0) ready.push(dependent);
      }
      if (this.#wanted.delete(text(task.key)))
        news.push(WireMap.of({ op: "key-in-memory", key: task.key, type: message.get("type") ?? null }));
    }
    this.#place(ready);
    if (news.length > 0) this.#client?.write(frameMessage(encodeMessage(news)));
  }
}

function text(key: WireValue): string {
  return Buffer.from(keyBytes(key)).toString("latin1");
}
