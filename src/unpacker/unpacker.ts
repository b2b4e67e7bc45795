import { join } from "node:path";
import { Probe } from "../trace/tracer.ts";
import { readError, readSeconds, readSpecs, readStructure } from "./answers.ts";
import { type ChildJob, type SendToChild, UnpackerChild } from "./child.ts";
import {
  type SubFrame,
  UnpackError,
  type UnpackerHello,
  type UnpackHandlers,
  type UnpackRequest,
} from "./graph.ts";
import { PipeError, type PipeHead, type PipeMessage } from "./pipe.ts";

export interface UnpackerOptions {
  /** The Python executable; by default that of $VIRTUAL_ENV, else python3. */
  readonly python?: string;
  /** Processes at most. A further one starts only when all others have been busy for {@link GROW_MS}. Default 4. */
  readonly size_max?: number;
  /** Processes beyond {@link PREPARED_MAX} end when they had nothing to do for so long. Default 1 minute. */
  readonly spare_ms_max?: number;
  /** Modules imported while nothing is asked for, one after the other. Default numpy, pyarrow, pandas. */
  readonly preload?: readonly string[];
  readonly start_ms_max?: number;
  /** A graph without any progress for so long ends its process. Default 5 minutes. */
  readonly stall_ms_max?: number;
  /** A line that user code wrote to stdout or stderr while a graph was opened. */
  readonly onLine?: (line: string) => void;
  /** Is told of what crosses the pipes: phase `unpack`. */
  readonly probe?: Probe;
  /** A process has started, with these releases. */
  readonly onHello?: (hello: UnpackerHello) => void;
}

/** The worker that KilledWorker names; what is not known may be left out. */
export interface WorkerDescription {
  readonly address: string;
  readonly name?: string | number;
  readonly pid?: number;
  readonly nthreads?: number;
  readonly memory_limit?: number;
  readonly local_directory?: string;
  readonly nanny?: string;
  readonly server_id?: string;
}

/** What a P2P shuffle's run is made of. */
export interface ShuffleRunRequest {
  /** The barrier task's `run_spec`, as the specs delivered it; or, of releases before 2024.11, the shuffle's own specification. */
  readonly barrier: SubFrame;
  /** Candidates for the outputs, in the order of preference. */
  readonly workers: readonly string[];
  /** msgpack of [[partition, worker], …] that a shuffle with shared outputs has fixed already, or null. */
  readonly existing: Uint8Array | null;
  readonly run_id: number;
  readonly span_id: string | null;
}

const EMPTY_LIST = Uint8Array.of(0x90);
/** Processes that stay, and that are started ahead of need: each has dask, pandas and the like in its memory. */
const PREPARED_MAX = 2;
/**
 * A job waits so long before one more process is started for it. Most graphs are opened within a few milliseconds, and the
 * processor time of a start would be taken from them.
 */
const GROW_MS = 200;

/** `--python`, else the active virtual environment's, else python3. */
export function resolvePython(option: string | undefined, env: NodeJS.ProcessEnv): string {
  if (option !== undefined) return option;
  const { VIRTUAL_ENV: environment } = env;
  return environment === undefined || environment === "" ? "python3" : join(environment, "bin", "python");
}

/**
 * Python processes that open graphs, one graph each at a time, in the order of the requests. A process that
 * dies or hangs costs the graph it had; the next request starts another.
 */
export class UnpackerPool {
  readonly #options: Required<UnpackerOptions>;
  readonly #children = new Set<UnpackerChild>();
  readonly #queue: ChildJob[] = [];
  readonly #graphs = new Map<number, GraphJob>();
  readonly #imports: string[] = [];
  /** When a process that is more than are kept will end, unless it is needed before. */
  readonly #spare = new Map<UnpackerChild, NodeJS.Timeout>();
  /** Runs while jobs wait. */
  #grow_timer: NodeJS.Timeout | null = null;
  /** False once a process ended before it said hello: the next one would not get further. */
  #can_prepare = true;
  #next_id = 1;
  #closed = false;

  constructor(options: UnpackerOptions = {}) {
    this.#options = {
      python: resolvePython(options.python, process.env),
      size_max: options.size_max ?? 4,
      spare_ms_max: options.spare_ms_max ?? 60_000,
      preload: options.preload ?? ["numpy", "pyarrow", "pandas"],
      start_ms_max: options.start_ms_max ?? 120_000,
      stall_ms_max: options.stall_ms_max ?? 300_000,
      onLine: options.onLine ?? (() => undefined),
      onHello: options.onHello ?? (() => undefined),
      probe: options.probe ?? new Probe(),
    };
  }

  /** Process ids, for reports and tests. */
  get pids(): number[] {
    return [...this.#children].map((child) => child.pid).filter((pid) => pid !== undefined);
  }

  /** Starts the first process ahead of need, so that the first graph does not wait for Python's imports. */
  warmUp(): Promise<UnpackerHello> {
    return new Promise((resolve, reject) => {
      this.#add(new CallJob({ op: "ping", id: this.#next_id++ }, [], (_, hello) => resolve(hello), reject));
    });
  }

  /**
   * Starts processes ahead of need, one for each client and at most {@link PREPARED_MAX}, so that the first graphs
   * neither wait for Python's imports nor for one another. What fails here is told to the graph that needs it.
   */
  prepare(clients: number): void {
    const wanted = Math.min(clients, PREPARED_MAX);
    while (this.#can_prepare && !this.#closed && this.#children.size < wanted)
      if (this.#grow() === null) return;
  }

  /** What the processes run on; starts one if none has said so yet. Throws UnpackError. */
  async hello(): Promise<UnpackerHello> {
    return this.known_hello ?? this.warmUp();
  }

  /** Null: none has said so yet. */
  get known_hello(): UnpackerHello | null {
    for (const { hello } of this.#children) if (hello !== null) return hello;
    return null;
  }

  /** A module, package or archive that graphs need from now on: each process imports it before its next graph. */
  addImport(path: string): void {
    this.#imports.push(path);
  }

  /** Answers with the request's id; `handlers` are called later, never from within this call. */
  unpack(request: UnpackRequest, handlers: UnpackHandlers): number {
    const id = this.#next_id++;
    const job = new GraphJob(id, request, handlers, this.#imports, () => this.#graphs.delete(id));
    this.#graphs.set(id, job);
    this.#add(job);
    return id;
  }

  /**
   * After onStructure: the order in which specs are pickled and arrive, task numbers each once; null for the
   * structure's own. A request that has ended meanwhile is passed over.
   */
  sendOrder(request_id: number, order: Uint32Array | null): void {
    this.#graphs.get(request_id)?.sendOrder(order);
  }

  /** Gives a request up: no handler is called any more. */
  cancel(request_id: number): void {
    const job = this.#graphs.get(request_id);
    if (job === undefined) return;
    const place = this.#queue.indexOf(job);
    if (place !== -1) {
      this.#queue.splice(place, 1);
      this.#graphs.delete(request_id);
    }
    job.giveUp();
  }

  /**
   * Pickle of an exception that the scheduler makes itself, so that clients raise its own type: a class of
   * distributed.scheduler or of Python. `args` is a msgpack array; `worker` becomes KilledWorker's second one.
   */
  pickleException(name: string, args: Uint8Array, worker: WorkerDescription | null): Promise<Uint8Array> {
    return this.#call({ op: "exception", name, worker }, [args]).then(
      (sections) => sections[0] ?? new Uint8Array(),
    );
  }

  /** The frames of a pickled ShuffleRunSpec, and msgpack of [[partition, worker], …]. */
  async shuffleRun(request: ShuffleRunRequest): Promise<{ run_spec: SubFrame; worker_for: Uint8Array }> {
    const { barrier, workers, existing, run_id, span_id } = request;
    const head = { op: "shuffle", workers, run_id, span_id };
    const sections = await this.#call(head, [existing ?? EMPTY_LIST, barrier.header, ...barrier.frames]);
    const [worker_for, header, ...frames] = sections;
    if (worker_for === undefined || header === undefined)
      throw new PipeError("a shuffle run without its frames");
    return { worker_for, run_spec: { header, frames } };
  }

  /** Ends all processes; what is under way gets an error of code CLOSED. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#stopGrowing();
    const closed = new UnpackError("CLOSED", "the unpacker is closed");
    for (const job of this.#queue.splice(0)) job.onError(closed);
    await Promise.all([...this.#children].map((child) => child.close()));
  }

  #call(head: PipeHead, sections: readonly Uint8Array[]): Promise<readonly Uint8Array[]> {
    const id = this.#next_id++;
    return new Promise((resolve, reject) => {
      this.#add(new CallJob({ ...head, id }, sections, resolve, reject));
    });
  }

  #add(job: ChildJob): void {
    if (this.#closed) {
      queueMicrotask(() => job.onError(new UnpackError("CLOSED", "the unpacker is closed")));
      return;
    }
    // Questions are short, and tasks that run wait for the answers: they go ahead of graphs.
    const first_graph =
      job instanceof CallJob ? this.#queue.findIndex((other) => other instanceof GraphJob) : -1;
    this.#queue.splice(first_graph === -1 ? this.#queue.length : first_graph, 0, job);
    this.#dispatch();
  }

  #dispatch(): void {
    while (!this.#closed) {
      const free = [...this.#children].filter((child) => !child.busy);
      const ready = free.find((child) => child.hello !== null);
      const job = (ready === undefined ? null : this.#takeBack()) ?? this.#queue[0];
      if (job === undefined) {
        this.#stopGrowing();
        return;
      }
      const child = ready ?? free[0] ?? (this.#children.size === 0 ? this.#grow() : null);
      if (child === null) {
        this.#grow_timer ??= setTimeout(() => this.#growLate(), GROW_MS).unref();
        return;
      }
      if (job === this.#queue[0]) this.#queue.shift();
      clearTimeout(this.#spare.get(child));
      child.start(job);
    }
  }

  /** The job that has waited longest for a process to start, which takes a second or more. */
  #takeBack(): ChildJob | null {
    for (const child of this.#children) {
      const job = child.takeBack();
      if (job !== null) return job;
    }
    return null;
  }

  #endLater(child: UnpackerChild): void {
    const timer = setTimeout(() => {
      // Another one may have ended meanwhile; and what this one is asked for clears the timer.
      if (!child.busy && this.#children.size > PREPARED_MAX) void child.close();
    }, this.#options.spare_ms_max);
    this.#spare.set(child, timer.unref());
  }

  #growLate(): void {
    this.#grow_timer = null;
    if (this.#grow() !== null) this.#dispatch();
  }

  #stopGrowing(): void {
    if (this.#grow_timer !== null) clearTimeout(this.#grow_timer);
    this.#grow_timer = null;
  }

  #grow(): UnpackerChild | null {
    if (this.#children.size >= this.#options.size_max) return null;
    const child = new UnpackerChild(this.#options, {
      onHello: (one) => {
        if (one.hello !== null) this.#options.onHello(one.hello);
      },
      onFree: (one) => {
        this.#dispatch();
        if (!one.busy && this.#children.size > PREPARED_MAX) this.#endLater(one);
      },
      onEnd: (one) => {
        this.#children.delete(one);
        this.#can_prepare &&= one.hello !== null;
        clearTimeout(this.#spare.get(one));
        this.#spare.delete(one);
        // In a microtask: the failed job's handlers run first, and may ask for something themselves.
        queueMicrotask(() => this.#dispatch());
      },
    });
    this.#children.add(child);
    return child;
  }
}

/** One graph, from the request to the last spec. */
class GraphJob implements ChildJob {
  readonly #id: number;
  readonly #imports: readonly string[];
  readonly #onOver: () => void;
  /** Null once it went into the pipe: the graph's bytes are not kept beyond that. */
  #request: UnpackRequest | null;
  /** Null once the request was given up or has failed. */
  #handlers: UnpackHandlers | null;
  #send: SendToChild = () => undefined;
  #waits_for_order = false;

  /** `imports`: what is to be imported when the job begins. */
  constructor(
    id: number,
    request: UnpackRequest,
    handlers: UnpackHandlers,
    imports: readonly string[],
    onOver: () => void,
  ) {
    this.#id = id;
    this.#imports = imports;
    this.#request = request;
    this.#handlers = handlers;
    this.#onOver = onOver;
  }

  begin(hello: UnpackerHello, send: SendToChild): void {
    const request = this.#request;
    this.#request = null;
    if (request === null) throw new UnpackError("CLOSED", "the request was given up");
    if (!hello.kinds.includes(request.kind))
      throw new UnpackError("VERSION", versionText(request.kind, hello));
    this.#send = send;
    const { graph, annotations } = request;
    const imports = this.#imports.length === 0 ? {} : { imports: this.#imports };
    send({ op: "unpack", id: this.#id, kind: request.kind, frame_count: graph.frames.length, ...imports }, [
      request.keys,
      graph.header,
      ...graph.frames,
      ...(annotations === null ? [] : [annotations.header, ...annotations.frames]),
    ]);
  }

  sendOrder(order: Uint32Array | null): void {
    if (!this.#waits_for_order) return;
    this.#waits_for_order = false;
    const bytes = order === null ? [] : [new Uint8Array(order.buffer, order.byteOffset, order.byteLength)];
    this.#send({ op: "order", id: this.#id }, bytes);
  }

  giveUp(): void {
    this.#handlers = null;
    this.#request = null;
    if (this.#waits_for_order) this.#sendCancel();
  }

  onMessage(message: PipeMessage): "working" | "waiting" | "finished" {
    if (message.head.id !== this.#id) throw new PipeError("an answer to another request");
    switch (message.head.op) {
      case "progress":
        return "working";
      case "structure":
        this.#onStructure(message);
        return this.#waits_for_order ? "waiting" : "working";
      case "specs":
        this.#handlers?.onSpecs(readSpecs(message));
        return "working";
      case "done":
        this.#onOver();
        this.#handlers?.onDone(readSeconds(message.head));
        return "finished";
      case "error":
        this.onError(readError(message.head));
        return "finished";
      default:
        throw new PipeError(`an unknown answer ${String(message.head.op)}`);
    }
  }

  onError(error: UnpackError): void {
    this.#onOver();
    const handlers = this.#handlers;
    this.#handlers = null;
    handlers?.onError(error);
  }

  #onStructure(message: PipeMessage): void {
    this.#waits_for_order = true;
    if (this.#handlers === null) this.#sendCancel();
    else this.#handlers.onStructure(readStructure(message), this.#id);
  }

  #sendCancel(): void {
    this.#waits_for_order = false;
    this.#send({ op: "cancel", id: this.#id }, []);
  }
}

/** A question with one answer. */
class CallJob implements ChildJob {
  readonly #head: PipeHead;
  readonly #sections: readonly Uint8Array[];
  readonly #resolve: (sections: readonly Uint8Array[], hello: UnpackerHello) => void;
  readonly #reject: (error: UnpackError) => void;
  #hello: UnpackerHello | null = null;

  constructor(
    head: PipeHead,
    sections: readonly Uint8Array[],
    resolve: (sections: readonly Uint8Array[], hello: UnpackerHello) => void,
    reject: (error: UnpackError) => void,
  ) {
    this.#head = head;
    this.#sections = sections;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  begin(hello: UnpackerHello, send: SendToChild): void {
    this.#hello = hello;
    send(this.#head, this.#sections);
  }

  onMessage({ head, sections }: PipeMessage): "finished" {
    if (head.id !== this.#head.id || this.#hello === null)
      throw new PipeError("an answer to another request");
    if (head.op === "error") this.#reject(readError(head));
    else this.#resolve(sections, this.#hello);
    return "finished";
  }

  onError(error: UnpackError): void {
    this.#reject(error);
  }
}

const SENT = {
  expr: "an expression (dask 2025.4 or later)",
  hlg: "a HighLevelGraph (dask 2023.4 to 2025.3)",
  packed: "layers that need their classes' code (dask before 2023.4)",
} as const;

function versionText(kind: keyof typeof SENT, hello: UnpackerHello): string {
  return `the client sent ${SENT[kind]}, which the scheduler's Python cannot open: ${hello.executable} has dask ${hello.dask}`;
}
