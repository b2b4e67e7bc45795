import type { TaskId } from "../../base/ids.ts";
import { keyValue } from "../../protocol/keys.ts";
import { pythonRepr } from "../../protocol/python-repr.ts";
import { RawValue, toNumber, WireMap, type WireValue } from "../../protocol/values.ts";
import type { CoreCluster } from "../core-cluster.ts";
import type { ClientPeer, WorkerPeer } from "../peers/cluster.ts";
import { workerIdentity } from "../registration/worker-record.ts";
import { broadcastToWorkers } from "../rpc/broadcast.ts";
import type { Handler, RpcContext } from "../rpc/context.ts";
import { identityMap, versionsMap } from "../rpc/identity.ts";
import { logLines } from "../rpc/logs.ts";
import type { Request } from "../rpc/request.ts";
import { floatValue, keyMap } from "../rpc/wire-shapes.ts";
import type { Inspector } from "./inspector.ts";
import { memoryMap, type WorkerMemory } from "./memory.ts";
import type { Story } from "./story.ts";

/** Parts that a caller does not want, by the names of their fields at any depth. */
type Exclude = ReadonlySet<string>;

/** All that the scheduler knows, as plain data for people and tools (`Client.dump_cluster_state`). */
export class ClusterDump {
  readonly handlers: readonly (readonly [string, Handler])[] = [
    ["dump_state", (request, context) => this.scheduler(excludeOf(request), context)],
    ["get_cluster_state", (request, context) => this.cluster(excludeOf(request), context)],
    ["get_task_prefix_states", () => this.#prefixStates()],
  ];
  readonly #inspector: Inspector;
  readonly #cluster: CoreCluster;
  readonly #memory: WorkerMemory;
  readonly #story: Story;

  constructor(inspector: Inspector, cluster: CoreCluster, memory: WorkerMemory, story: Story) {
    this.#inspector = inspector;
    this.#cluster = cluster;
    this.#memory = memory;
    this.#story = story;
  }

  /** The scheduler's own state and what the workers answer to the same question. */
  async cluster(exclude: Exclude, context: RpcContext): Promise<WireMap> {
    const asked = WireMap.of({ op: "dump_state", exclude: [...exclude], reply: true });
    const [states, versions, own] = await Promise.all([
      broadcastToWorkers(asked, "text", context),
      broadcastToWorkers(WireMap.of({ op: "versions", reply: true }), "ignore", context),
      versionsMap([], context),
    ]);
    return WireMap.of({
      scheduler: this.scheduler(exclude, context),
      workers: states,
      versions: WireMap.of({ scheduler: own, workers: versions }),
    });
  }

  scheduler(exclude: Exclude, context: RpcContext): WireMap {
    const { cluster } = context;
    const identity = identityMap(context, 0, "all");
    const parts: Record<string, () => WireValue> = {
      logs: () => logLines(context, { start_ms: 0, n: 0, timestamps: false }),
      transition_log: () => this.#story.log(),
      transition_counter: () => cluster.transition_count,
      tasks: () => this.#tasks(exclude),
      task_groups: () => this.#groups(),
      workers: () =>
        WireMap.from([...cluster.workers].map(([at, peer]) => [at, this.#worker(peer, exclude)])),
      clients: () => WireMap.from([...cluster.clients].map(([name, peer]) => [name, this.#client(peer)])),
      memory: () => memoryMap(this.#memory.total()),
      events: () => context.events.allEvents(),
      extensions: () => new WireMap(),
    };
    for (const [name, part] of Object.entries(parts)) if (!exclude.has(name)) identity.set(name, part());
    for (const name of exclude) if (identity.has(name)) without(identity, name);
    return identity;
  }

  #tasks(exclude: Exclude): WireMap {
    const entries: (readonly [Uint8Array, WireValue])[] = [];
    for (const task of this.#inspector.tasks())
      entries.push([this.#inspector.key(task), this.task(task, exclude)]);
    return keyMap(entries);
  }

  /** Other tasks, workers and clients are named, not nested. */
  task(task: TaskId, exclude: Exclude): WireMap {
    const { books } = this.#inspector;
    const { tasks, restrictions, errors } = books;
    const names = (ids: readonly TaskId[]): WireValue[] => ids.map((id) => this.#taskRepr(id));
    const restricted = restrictions.get(task);
    const error = errors.get(task);
    const inspector = this.#inspector;
    const processing_on = inspector.processingOn(task);
    const map = WireMap.of({
      key: new RawValue(inspector.key(task)),
      state: inspector.state(task),
      priority: [tasks.user_priority[task]!, tasks.generation[task]!, tasks.order[task]!],
      nbytes: tasks.nbytes[task]!,
      prefix: inspector.prefix(task),
      group: inspector.group(task),
      dependencies: names(inspector.dependencies(task)),
      dependents: names(inspector.dependents(task)),
      waiters: names(inspector.waiters(task)),
      waiting_on: names(inspector.waitingOn(task)),
      who_has: inspector.holders(task).map((address) => this.#workerRepr(address)),
      who_wants: inspector.wantedBy(task).map((name) => `<Client ${pythonRepr(name)}>`),
      processing_on: processing_on === null ? null : this.#workerRepr(processing_on),
      retries: tasks.retries[task]!,
      suspicious: tasks.suspicious[task]!,
      run_id: tasks.run_id[task]!,
      actor: books.isActor(task),
      worker_restrictions: restricted?.workers == null ? null : [...restricted.workers],
      loose_restrictions: restricted?.loose ?? false,
      resource_restrictions: restricted?.resources == null ? null : WireMap.from(restricted.resources),
      exception_text: error?.exception_text ?? null,
      traceback_text: error?.traceback_text ?? null,
      exception_blame: error === undefined ? null : this.#taskRepr(error.blame),
    });
    for (const name of exclude) if (map.has(name)) without(map, name);
    return map;
  }

  #taskRepr(task: TaskId): string {
    const { state, key } = { state: this.#inspector.state(task), key: this.#inspector.key(task) };
    return `<TaskState ${pythonRepr(keyValue(key))} ${state}>`;
  }

  #workerRepr(address: string): string {
    const peer = this.#cluster.workers.get(address);
    if (peer === undefined) return `<WorkerState '${address}', status: closed>`;
    const { replicas } = this.#inspector.books;
    const book = this.#cluster.book(peer);
    const name = peer.name === peer.address ? "" : `, name: ${String(peer.name)}`;
    const counts = `memory: ${replicas.count_of_owner[book.id]!}, processing: ${book.processing}`;
    return `<WorkerState '${address}'${name}, status: ${peer.status}, ${counts}>`;
  }

  #worker(peer: WorkerPeer, exclude: Exclude): WireMap {
    const map = workerIdentity(peer);
    const book = this.#cluster.book(peer);
    const reprs = (keys: readonly Uint8Array[]): WireValue[] =>
      keys.map((key) => this.#taskRepr(this.#inspector.find(key)));
    map
      .set("address", peer.address)
      .set("pid", peer.pid)
      .set("server_id", peer.server_id)
      .set("nbytes", book.nbytes)
      .set("memory", memoryMap(this.#memory.of(peer)))
      .set("used_resources", WireMap.from(book.used_resources))
      .set("time_delay", floatValue(peer.time_delay_s))
      .set("has_what", reprs(this.#cluster.hasWhat(peer)))
      .set("processing", reprs(this.#cluster.processing(peer)));
    for (const name of exclude) if (map.has(name)) without(map, name);
    return map;
  }

  #client(peer: ClientPeer): WireMap {
    const wants = this.#inspector.wants(this.#cluster.clientId(peer.name));
    return WireMap.of({
      client_key: peer.name,
      last_seen: floatValue(peer.last_seen_ms / 1000),
      wants_what: wants.map((task) => this.#taskRepr(task)),
    });
  }

  #groups(): WireMap {
    const groups = new Map<string, WireMap>();
    for (const task of this.#inspector.tasks()) {
      const name = this.#inspector.group(task);
      const group = groups.get(name) ?? WireMap.of({ name, states: new WireMap() });
      groups.set(name, group);
      const states = group.get("states");
      const state = this.#inspector.state(task);
      if (states instanceof WireMap) states.set(state, (toNumber(states.get(state)) ?? 0) + 1);
    }
    return WireMap.from(groups);
  }

  /** `get_task_prefix_states`: how many tasks of each prefix are in which state. */
  #prefixStates(): WireValue {
    const prefixes = new Map<string, Map<string, number>>();
    for (const task of this.#inspector.tasks()) {
      const prefix = this.#inspector.prefix(task);
      const states = prefixes.get(prefix) ?? new Map(COUNTED.map((state) => [state, 0]));
      prefixes.set(prefix, states);
      const state = this.#inspector.state(task);
      if (states.has(state)) states.set(state, states.get(state)! + 1);
    }
    const seen = [...prefixes].filter(([, states]) => [...states.values()].some((count) => count > 0));
    return WireMap.from(seen.map(([name, states]) => [name, WireMap.from(states)] as const));
  }
}

const COUNTED = ["memory", "erred", "released", "processing", "waiting"];

function excludeOf(request: Request): Exclude {
  return new Set(request.optionalStrings("exclude") ?? []);
}

function without(map: WireMap, name: string): void {
  const at = map.keys.indexOf(name);
  if (at < 0) return;
  map.keys.splice(at, 1);
  map.values.splice(at, 1);
}
