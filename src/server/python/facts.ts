import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { CoreCluster } from "../core-cluster.ts";
import type { Inspector } from "../diagnostics/inspector.ts";
import { memoryMap, type WorkerMemory } from "../diagnostics/memory.ts";
import { workerIdentity } from "../registration/worker-record.ts";
import { toKey } from "../rpc/request.ts";
import { floatValue, keyList } from "../rpc/wire-shapes.ts";
import { spanOf } from "../spans/annotation.ts";

/** What code in the Python host sees of tasks, workers and clients, under the names of Dask's attributes. */
export class Facts {
  readonly #inspector: Inspector;
  readonly #cluster: CoreCluster;
  readonly #memory: WorkerMemory;

  constructor(inspector: Inspector, cluster: CoreCluster, memory: WorkerMemory) {
    this.#inspector = inspector;
    this.#cluster = cluster;
    this.#memory = memory;
  }

  /** Null: no such task, as for the others. */
  task(id: WireValue): WireMap | null {
    const inspector = this.#inspector;
    const task = inspector.find(toKey(id));
    if (task < 0) return null;
    const { books } = inspector;
    const { tasks } = books;
    const names = (found: readonly number[]): WireValue[] =>
      keyList(found.map((each) => inspector.key(each)));
    const restricted = books.restrictions.get(task);
    const error = books.errors.get(task);
    const annotations = books.annotations.get(task);
    return WireMap.of({
      state: inspector.state(task),
      priority: [tasks.user_priority[task]!, tasks.generation[task]!, tasks.order[task]!],
      nbytes: tasks.nbytes[task]!,
      group_key: inspector.group(task),
      span_id: annotations instanceof WireMap ? (spanOf(annotations)?.ids.at(-1) ?? null) : null,
      prefix_key: inspector.prefix(task),
      dependencies: names(inspector.dependencies(task)),
      dependents: names(inspector.dependents(task)),
      waiters: names(inspector.waiters(task)),
      waiting_on: names(inspector.waitingOn(task)),
      who_has: inspector.holders(task),
      who_wants: inspector.wantedBy(task),
      processing_on: inspector.processingOn(task),
      retries: tasks.retries[task]!,
      suspicious: tasks.suspicious[task]!,
      run_id: tasks.run_id[task]!,
      actor: books.isActor(task),
      annotations: (annotations as WireValue | undefined) ?? null,
      worker_restrictions: restricted?.workers == null ? null : [...restricted.workers],
      loose_restrictions: restricted?.loose ?? false,
      resource_restrictions: restricted?.resources == null ? null : WireMap.from(restricted.resources),
      exception: (error?.exception as WireValue | undefined) ?? null,
      traceback: (error?.traceback as WireValue | undefined) ?? null,
      exception_text: error?.exception_text ?? null,
      traceback_text: error?.traceback_text ?? null,
      exception_blame: error === undefined ? null : (names([error.blame])[0] ?? null),
    });
  }

  tasks(): WireValue[] {
    return keyList([...this.#inspector.tasks()].map((task) => this.#inspector.key(task)));
  }

  get task_count(): number {
    return this.#inspector.books.tasks.live;
  }

  worker(id: WireValue): WireMap | null {
    const peer = this.#cluster.workers.get(String(id));
    if (peer === undefined) return null;
    const book = this.#cluster.book(peer);
    const identity = workerIdentity(peer);
    const map = WireMap.from(identity.keys.map((name, i) => [name, identity.values[i]!]));
    return map
      .set("identity", identity)
      .set("pid", peer.pid)
      .set("server_id", peer.server_id)
      .set("versions", peer.versions)
      .set("extra", peer.extra)
      .set("nbytes", book.nbytes)
      .set("memory", memoryMap(this.#memory.of(peer)))
      .set("used_resources", WireMap.from(book.used_resources))
      .set("last_seen", floatValue(peer.last_seen_ms / 1000))
      .set("has_what", keyList(this.#cluster.hasWhat(peer)))
      .set("processing", keyList(this.#cluster.processing(peer)))
      .set("executing", peer.executing ?? new WireMap());
  }

  workers(): WireValue[] {
    return [...this.#cluster.workers.keys()].sort();
  }

  client(id: WireValue): WireMap | null {
    const peer = this.#cluster.clients.get(String(id));
    if (peer === undefined) return null;
    const wants = this.#inspector.wants(this.#cluster.clientId(peer.name));
    return WireMap.of({
      last_seen: floatValue(peer.last_seen_ms / 1000),
      versions: peer.versions,
      wants_what: keyList(wants.map((task) => this.#inspector.key(task))),
    });
  }

  clients(): WireValue[] {
    return [...this.#cluster.clients.keys()];
  }

  memory(): WireMap {
    return memoryMap(this.#memory.total());
  }
}
