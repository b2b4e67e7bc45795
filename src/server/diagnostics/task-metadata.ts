import type { KeyBytes } from "../../protocol/keys.ts";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { GraphIntake, GraphNews } from "../graphs/intake.ts";
import type { Handler } from "../rpc/context.ts";
import { PythonError } from "../rpc/python-error.ts";
import { keyId, type Request } from "../rpc/request.ts";
import { keyMap } from "../rpc/wire-shapes.ts";
import type { Reports, TaskReport } from "./reports.ts";

/** A client follows the tasks that it wants of the graphs to come. */
class Collection {
  readonly awaited = new Set<string>();
  readonly done: { readonly key: KeyBytes; readonly metadata: WireValue; readonly state: string }[] = [];
  readonly onGraph = ({ wanted }: GraphNews): void => {
    for (const key of wanted()) this.awaited.add(keyId(key));
  };
  readonly onReport = ({ key, fields, finish }: TaskReport): void => {
    if (!this.awaited.delete(keyId(key))) return;
    this.done.push({ key, metadata: fields.get("metadata") ?? null, state: finish });
  };
}

/** What workers noted of tasks, between two calls of a client (`get_task_metadata`). */
export class TaskMetadata {
  readonly handlers: readonly (readonly [string, Handler])[] = [
    ["start_task_metadata", (request) => this.#start(request)],
    ["stop_task_metadata", (request) => this.#stop(request)],
  ];
  readonly #reports: Reports;
  readonly #intake: GraphIntake;
  readonly #collections = new Map<string, Collection>();

  constructor(reports: Reports, intake: GraphIntake) {
    this.#reports = reports;
    this.#intake = intake;
  }

  #start(request: Request): WireValue {
    const name = request.string("name");
    if (this.#collections.has(name)) throw new PythonError("ValueError", `${name} collects metadata already`);
    const collection = new Collection();
    this.#collections.set(name, collection);
    this.#reports.follow(collection.onReport);
    this.#intake.followers.add(collection.onGraph);
    return null;
  }

  #stop(request: Request): WireValue {
    const name = request.optionalString("name") ?? "";
    const collection = this.#collections.get(name);
    if (collection === undefined) {
      const text = `Expected to find exactly one CollectTaskMetaDataPlugin with name ${name} but found 0.`;
      throw new PythonError("ValueError", text);
    }
    this.#collections.delete(name);
    this.#reports.unfollow(collection.onReport);
    this.#intake.followers.delete(collection.onGraph);
    const { done } = collection;
    return WireMap.of({
      metadata: keyMap(done.map(({ key, metadata }) => [key, metadata] as const)),
      state: keyMap(done.map(({ key, state }) => [key, state] as const)),
    });
  }
}
