import type { TaskId } from "../../base/ids.ts";
import { STATE_NAMES } from "../../core/states.ts";
import type { KeyBytes } from "../../protocol/keys.ts";
import { RawValue, WireMap, WireSet, type WireValue } from "../../protocol/values.ts";
import type { Inspector } from "../diagnostics/inspector.ts";
import type { Reports, TaskReport } from "../diagnostics/reports.ts";
import type { GraphIntake, GraphNews } from "../graphs/intake.ts";
import type { WorkerWatcher } from "../registration/workers.ts";
import type { RpcContext } from "../rpc/context.ts";
import { keyList } from "../rpc/wire-shapes.ts";
import type { StreamOutbox } from "../stream/outbox.ts";

export interface PluginEventParts {
  readonly inspector: Inspector;
  readonly reports: Reports;
  readonly intake: GraphIntake;
  readonly outbox: StreamOutbox;
  /** Sends events to the plugins. */
  readonly send: (events: readonly WireValue[]) => void;
}

/** A change that is not sent yet. */
interface Change {
  readonly task: TaskId;
  readonly key: KeyBytes;
  readonly from: number;
  readonly to: number;
  readonly report: WireMap | null;
  readonly worker: string | null;
}

/** Fields of a worker's report that a plugin's `transition` gets; the exception comes from the books. */
const REPORTED = ["nbytes", "type", "typename", "startstops", "thread", "metadata", "status"];

/**
 * What happens in the scheduler, for plugins in the Python host: followed only where a plugin has a method for it, and
 * sent in one message for all that happened in one go.
 */
export class PluginEvents {
  readonly #parts: PluginEventParts;
  #wanted: ReadonlySet<string> = new Set();
  #waiting: WireValue[] = [];
  #changes: Change[] = [];
  /** Reports of the packet at hand, until their transitions come by. */
  readonly #reports = new Map<TaskId, TaskReport>();
  #scheduled = false;

  constructor(parts: PluginEventParts) {
    this.#parts = parts;
  }

  /** From now on these methods of plugins are called, and no others. */
  follow(names: readonly string[]): void {
    const { inspector, reports, intake } = this.#parts;
    const before = this.#wanted;
    this.#wanted = new Set(names);
    if (before.has("transition") !== this.#wanted.has("transition")) {
      if (before.has("transition")) {
        inspector.books.unfollow(this.#onTransition);
        reports.unfollow(this.#onReport);
      } else {
        inspector.books.follow(this.#onTransition);
        reports.follow(this.#onReport);
      }
    }
    if (this.#wanted.has("update_graph")) intake.followers.add(this.#onGraph);
    else intake.followers.delete(this.#onGraph);
  }

  /** Workers' and events' news come by way of the registration and the event log. */
  watch(context: RpcContext): void {
    const watcher: WorkerWatcher = {
      onWorkerAdded: (peer) => this.#event("add_worker", [peer.address], new WireMap()),
      onWorkerRemoved: (peer) =>
        this.#event("remove_worker", [peer.address], WireMap.of({ stimulus_id: this.#stimulus })),
    };
    context.registration.workers.watchers.add(watcher);
    context.events.followers.add((topics, message) => this.#onLogEvent(topics, message));
  }

  readonly #onReport = (report: TaskReport): void => {
    this.#reports.set(report.task, report);
  };

  readonly #onTransition = (task: TaskId, from: number, to: number): void => {
    const report = STATE_NAMES[from] === "processing" ? this.#reports.get(task) : undefined;
    if (report !== undefined) this.#reports.delete(task);
    const { inspector } = this.#parts;
    this.#changes.push({
      task,
      key: inspector.key(task),
      from,
      to,
      report: report?.fields ?? null,
      worker: report?.worker.address ?? inspector.processingOn(task),
    });
    this.#schedule();
  };

  readonly #onGraph = ({ client, wanted, tasks }: GraphNews): void => {
    const { inspector } = this.#parts;
    const keys = [...tasks].map((task) => inspector.key(task));
    const { user_priority, generation, order } = inspector.books.tasks;
    const priority = new WireMap(
      keyList(keys),
      [...tasks].map((task) => [user_priority[task]!, generation[task]!, order[task]!]),
    );
    const kwargs = WireMap.of({
      client,
      keys: new WireSet(keyList(wanted())),
      tasks: keyList(keys),
      annotations: this.#annotations(tasks, keys),
      priority,
      stimulus_id: this.#stimulus,
    });
    this.#event("update_graph", [], kwargs);
  };

  /** By kind, then by key, as Dask's plugins get them. */
  #annotations(tasks: Int32Array, keys: readonly KeyBytes[]): WireMap {
    const { annotations } = this.#parts.inspector.books;
    const by_kind = new WireMap();
    if (annotations.size === 0) return by_kind;
    for (const [i, task] of tasks.entries()) {
      const own = annotations.get(task);
      if (!(own instanceof WireMap)) continue;
      for (const [j, kind] of own.keys.entries()) {
        const known = by_kind.get(String(kind));
        const of_kind = known instanceof WireMap ? known : new WireMap();
        if (of_kind !== known) by_kind.set(String(kind), of_kind);
        of_kind.keys.push(new RawValue(keys[i]!));
        of_kind.values.push(own.values[j]!);
      }
    }
    return by_kind;
  }

  #onLogEvent(topics: readonly string[], message: WireValue): void {
    if (this.#wanted.has("log_event"))
      for (const topic of topics) this.#event("log_event", [topic, message], new WireMap());
    if (!(message instanceof WireMap) || !topics.includes("all")) return;
    const action = message.get("action");
    const client = message.get("client") ?? null;
    if (action === "add-client") this.#event("add_client", [client], new WireMap());
    else if (action === "remove-client") this.#event("remove_client", [client], new WireMap());
    else if (action === "restart") this.#event("restart", [], new WireMap());
  }

  #event(name: string, args: WireValue[], kwargs: WireMap): void {
    if (!this.#wanted.has(name)) return;
    this.#drainChanges();
    this.#waiting.push([name, args, kwargs]);
    this.#schedule();
  }

  get #stimulus(): string {
    return `rsds-${this.#parts.outbox.turn}`;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#drainChanges();
      this.#reports.clear();
      const events = this.#waiting;
      this.#waiting = [];
      this.#parts.send(events);
    });
  }

  /** Changes become events in their place among the others. */
  #drainChanges(): void {
    for (const change of this.#changes) {
      const { key, from, to, worker, report } = change;
      const kwargs = WireMap.of({ stimulus_id: this.#stimulus });
      if (worker !== null) kwargs.set("worker", worker);
      for (const name of REPORTED) {
        const value = report?.get(name);
        if (value !== undefined) kwargs.set(name, value);
      }
      if (STATE_NAMES[to] === "erred") this.#addError(change, kwargs);
      const args = [keyList([key])[0]!, STATE_NAMES[from]!, STATE_NAMES[to]!];
      this.#waiting.push(["transition", args, kwargs]);
    }
    this.#changes = [];
  }

  #addError({ task, report }: Change, kwargs: WireMap): void {
    const { books } = this.#parts.inspector;
    const error = books.errors.get(task);
    const exception = report?.get("exception") ?? (error?.exception as WireValue | undefined);
    const traceback = report?.get("traceback") ?? (error?.traceback as WireValue | undefined);
    // Never None: that is how plugins tell an error.
    kwargs.set("exception", exception ?? true).set("traceback", traceback ?? null);
    if (error !== undefined && STATE_NAMES[books.tasks.state[error.blame]!] !== "forgotten")
      kwargs.set("cause", keyList([books.keys.bytes(error.blame)])[0]!);
  }
}
