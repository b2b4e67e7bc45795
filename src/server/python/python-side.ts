import type { Machine } from "../../base/machine.ts";
import { frameMessage, messageOfFrames } from "../../protocol/frames.ts";
import { decodeMessage } from "../../protocol/message.ts";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import { HostError, PythonHost } from "../../unpacker/host.ts";
import { resolvePython, type UnpackerPool } from "../../unpacker/unpacker.ts";
import type { CoreCluster } from "../core-cluster.ts";
import type { Diagnostics } from "../diagnostics/diagnostics.ts";
import type { Reports } from "../diagnostics/reports.ts";
import type { GraphIntake } from "../graphs/intake.ts";
import type { Channel } from "../peers/channel.ts";
import type { Log } from "../peers/log.ts";
import { type Handler, type HandlerTable, NO_REPLY, type Reply, type RpcContext } from "../rpc/context.ts";
import { asPythonError } from "../rpc/dispatch.ts";
import { PythonError, RemoteError, uncaughtError } from "../rpc/python-error.ts";
import { Request } from "../rpc/request.ts";
import type { Spans } from "../spans/spans.ts";
import type { StreamOutbox } from "../stream/outbox.ts";
import { Computations } from "./computations.ts";
import { Facts } from "./facts.ts";
import { PluginEvents } from "./plugin-events.ts";

export interface PythonSideParts {
  readonly cluster: CoreCluster;
  readonly outbox: StreamOutbox;
  readonly intake: GraphIntake;
  readonly reports: Reports;
  readonly diagnostics: Diagnostics;
  readonly spans: Spans;
  readonly unpacker: () => UnpackerPool;
  readonly python: string | null;
  /** False: users' pickles are not opened (`distributed.scheduler.pickle`). */
  readonly allowed: boolean;
  readonly log: Log;
  readonly machine: Machine;
}

/** Requests that take over the connection on which they come: there is none here. */
const CONNECTION_OPS: ReadonlySet<string> = new Set([
  "feed",
  "register-client",
  "register-worker",
  "register_nanny",
  "subscribe_worker_status",
]);
/** The other handlers do not look at the connection. */
type LocalHandler = (request: Request, context: RpcContext) => Reply | Promise<Reply>;

/** A client that does not read its feed is dropped beyond this. */
const FEED_PENDING_BYTES_MAX = 16 * 1024 * 1024;

/**
 * Where Dask runs users' Python in its scheduler, a Python process beside this one does, against as much of the
 * scheduler's state as it can ask for. It is started when the first such request comes.
 */
export class PythonSide {
  readonly handlers: readonly (readonly [string, Handler])[] = [
    ["run_function", (request, context) => this.#runFunction(request, context)],
    ["register_scheduler_plugin", (request) => this.#registerPlugin(request)],
    ["unregister_scheduler_plugin", (request) => this.#unregisterPlugin(request)],
    ["feed", (request, context, channel) => this.#feed(request, context, channel)],
    ["dump_cluster_state_to_url", (request, context) => this.#writeDump(request, context)],
  ];
  /** Set once the server's table of operations is whole: the host may ask for any of them. */
  table: HandlerTable = new Map();
  readonly #parts: PythonSideParts;
  readonly #facts: Facts;
  readonly #computations: Computations;
  readonly #events: PluginEvents;
  #host: PythonHost | null = null;
  #plugins = 0;
  #context: RpcContext | null = null;

  constructor(parts: PythonSideParts) {
    const { cluster, diagnostics, intake, outbox, reports, machine } = parts;
    const { inspector, memory } = diagnostics;
    this.#parts = parts;
    this.#facts = new Facts(inspector, cluster, memory);
    this.#computations = new Computations(inspector.books, machine);
    this.#events = new PluginEvents({
      inspector,
      reports,
      intake,
      outbox,
      send: (events) => {
        if (this.#host?.alive === true) this.#host.events(events);
      },
    });
    intake.followers.add((news) => this.#computations.onGraph(news));
  }

  /** Called once, with the context of the server's requests. */
  attach(context: RpcContext): void {
    this.#context = context;
    this.#events.watch(context);
  }

  get pids(): number[] {
    const pid = this.#host?.alive === true ? this.#host.pid : undefined;
    return pid === undefined ? [] : [pid];
  }

  async close(): Promise<void> {
    await this.#host?.close();
  }

  /**
   * How a pickled function groups these workers, and which of them plugins let go: [address, number of the group].
   * Null: nobody has a say.
   */
  async groupWorkers(key: WireValue, workers: readonly string[]): Promise<WireValue> {
    if (key === null && this.#plugins === 0) return null;
    const reply = await this.#request("workers-to-close", WireMap.of({ key, workers: [...workers] }), null);
    if (reply instanceof WireMap) throw new RemoteError(reply);
    return reply;
  }

  // ---- requests

  #started(): PythonHost {
    if (!this.#parts.allowed) {
      const text =
        "Cannot run Python for a client as the scheduler has been explicitly disallowed from deserializing arbitrary " +
        "bytestrings using pickle via the 'distributed.scheduler.pickle' configuration setting.";
      throw new PythonError("ValueError", text);
    }
    if (this.#host?.alive === true) return this.#host;
    const { log, python } = this.#parts;
    this.#host = new PythonHost({
      python: resolvePython(python ?? undefined, process.env),
      onAsk: (what, fields) => this.#answer(what, fields),
      onLine: (line) => log.write("INFO", `python: ${line}`),
      onEnd: (why) => {
        this.#events.follow([]);
        if (this.#plugins > 0)
          log.write(
            "ERROR",
            `The Python process with ${this.#plugins} scheduler plugins ${why}: they are gone`,
          );
        this.#plugins = 0;
      },
    });
    return this.#host;
  }

  async #request(op: string, fields: WireMap, serializers: readonly string[] | null): Promise<WireValue> {
    try {
      return decodeMessage(messageOfFrames(await this.#started().request(op, fields, serializers)));
    } catch (error) {
      if (error instanceof HostError) throw new PythonError("RuntimeError", error.message);
      throw error;
    }
  }

  /** `run_function {function, args?, kwargs?, wait?}`: `Client.run_on_scheduler`. */
  #runFunction(request: Request, context: RpcContext): Promise<WireValue> {
    const event = WireMap.of({ action: "run-function", function: request.value("function") });
    context.events.publish(["all"], event);
    const fields = WireMap.of({
      function: request.value("function"),
      args: request.value("args"),
      kwargs: request.value("kwargs"),
      wait: request.boolean("wait", true),
    });
    return this.#request("run", fields, request.optionalStrings("serializers"));
  }

  async #registerPlugin(request: Request): Promise<WireValue> {
    const fields = WireMap.of({
      plugin: request.value("plugin"),
      name: request.value("name"),
      idempotent: request.boolean("idempotent", false),
    });
    const reply = await this.#request("plugin-add", fields, null);
    if (reply === null) this.#plugins++;
    return reply;
  }

  async #unregisterPlugin(request: Request): Promise<WireValue> {
    const reply = await this.#request("plugin-remove", WireMap.of({ name: request.string("name") }), null);
    if (reply === null) this.#plugins--;
    return reply;
  }

  /** `feed {function, setup?, teardown?, interval?}`: what the function answers, again and again, until the peer leaves. */
  async #feed(request: Request, _context: RpcContext, channel: Channel): Promise<Reply> {
    const host = this.#started();
    const { connection } = channel;
    const fields = new WireMap();
    for (const name of ["function", "setup", "teardown", "interval"]) {
      const value = request.value(name);
      if (value !== null) fields.set(name, value);
    }
    const serializers = request.optionalStrings("serializers");
    const { id, reply } = await host.feed(fields, serializers, (frames, over) => {
      connection.write(frameMessage(frames));
      if (over) channel.close();
    });
    const failure = decodeMessage(messageOfFrames(reply));
    if (failure !== null) return failure;
    connection.pending_bytes_max = FEED_PENDING_BYTES_MAX;
    if (channel.closed !== null) host.stopFeed(id);
    else channel.watch(() => host.stopFeed(id));
    return NO_REPLY;
  }

  /** `dump_cluster_state_to_url {url, exclude, format, **storage_options}`: by Dask's own writer, in the host. */
  async #writeDump(request: Request, context: RpcContext): Promise<WireValue> {
    const options = new WireMap();
    const named = ["op", "url", "exclude", "format", "reply", "close", "serializers"];
    for (let i = 0; i < request.fields.size; i++) {
      const name = request.fields.keys[i]!;
      if (typeof name === "string" && !named.includes(name)) options.set(name, request.fields.values[i]!);
    }
    const format = request.string("format");
    if (format !== "msgpack" && format !== "yaml") {
      const text = `Unsupported format '${format}'. Possible values are 'msgpack' or 'yaml'.`;
      throw new PythonError("ValueError", text);
    }
    const exclude = new Set(request.optionalStrings("exclude") ?? []);
    const fields = WireMap.of({
      url: request.string("url"),
      format,
      storage_options: options,
      state: await this.#parts.diagnostics.dump.cluster(exclude, context),
    });
    return this.#request("write-dump", fields, null);
  }

  // ---- what the host asks

  async #answer(what: string, fields: WireMap): Promise<{ ok: boolean; value: WireValue }> {
    try {
      return { ok: true, value: await this.#fact(what, fields) };
    } catch (error) {
      const known = asPythonError(error);
      if (known === null) {
        const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
        this.#parts.log.write("ERROR", `A question of the Python process met a bug: ${text}`);
      }
      return {
        ok: false,
        value: uncaughtError(known ?? new PythonError("RuntimeError", `rsds: ${String(error)}`)),
      };
    }
  }

  #fact(what: string, fields: WireMap): WireValue | Promise<WireValue> {
    const facts = this.#facts;
    const id = fields.get("id") ?? null;
    const context = this.#context!;
    const answers: Readonly<Record<string, () => WireValue | Promise<WireValue>>> = {
      task: () => facts.task(id),
      tasks: () => facts.tasks(),
      "task-count": () => facts.task_count,
      worker: () => facts.worker(id),
      workers: () => facts.workers(),
      "worker-count": () => context.cluster.workers.size,
      client: () => facts.client(id),
      clients: () => facts.clients(),
      "client-count": () => context.cluster.clients.size,
      server: () => WireMap.of({ address: context.server.address, id: context.server.id }),
      memory: () => facts.memory(),
      metadata: () => context.metadata.get([]) ?? new WireMap(),
      computations: () => this.#computations.list(),
      spans: () => this.#parts.spans.wire(),
      follow: () => this.#follow(fields),
      import: () => this.#import(fields),
      call: () => this.#call(fields, context),
    };
    const answer = answers[what];
    if (answer === undefined) throw new PythonError("ValueError", `no such question: ${what}`);
    return answer();
  }

  #follow(fields: WireMap): WireValue {
    const events = fields.get("events");
    this.#events.follow(Array.isArray(events) ? events.map(String) : []);
    return null;
  }

  /** A module that was uploaded is needed where graphs are opened, too. */
  #import(fields: WireMap): WireValue {
    this.#parts.unpacker().addImport(String(fields.get("path")));
    return null;
  }

  /** Any request that the server serves; those that take over a connection are not among them. */
  async #call(fields: WireMap, context: RpcContext): Promise<WireValue> {
    const op = String(fields.get("op"));
    const arguments_ = fields.get("fields");
    const handler = this.table.get(op);
    if (handler === undefined || CONNECTION_OPS.has(op) || !(arguments_ instanceof WireMap))
      throw new PythonError("ValueError", `no such request: ${op}`);
    const reply = await (handler as LocalHandler)(new Request(op, arguments_), context);
    return typeof reply === "symbol" ? null : reply;
  }
}
