import { Worker } from "node:worker_threads";
import { type FiguresMessage, figuresFromMessage, type WindowFigures } from "../../src/trace/figures.ts";
import type { FleetFigures } from "./fleet.ts";
import type { GraphData } from "./graph-message.ts";
import type {
  FleetDriver,
  ReleaseReport,
  SessionOptions,
  SessionStarted,
  SubmissionReport,
} from "./session.ts";
import type { ThreadMessage, ThreadRequest, ThreadResult } from "./thread-protocol.ts";

interface Waiting {
  readonly resolve: (result: ThreadResult) => void;
  readonly reject: (error: Error) => void;
}

/** Threads run compiled code only: from the sources (in tests) the build's thread is taken. */
const THREAD_URL = new URL(
  import.meta.url.endsWith(".ts") ? "../../dist/simulator/fleet/thread.js" : "./thread.js",
  import.meta.url,
);

/**
 * Modules that NODE_OPTIONS preloads are probes of a profiler, mostly, which write to one file a process: they are
 * for the main thread alone.
 */
function withoutPreloads(env: NodeJS.ProcessEnv): { env?: NodeJS.ProcessEnv } {
  const { NODE_OPTIONS = "" } = env;
  return /(?:^|\s)(?:-r|--require)\b/.test(NODE_OPTIONS) ? { env: { ...env, NODE_OPTIONS: "" } } : {};
}

/**
 * A fleet and its client stand-in in a thread of their own, over TCP, so that their work is not on the scheduler's
 * thread. A thread that dies rejects whatever waits for it, and everything that is asked of it later.
 */
export class FleetThread implements FleetDriver {
  readonly #worker: Worker;
  readonly #waiting: Waiting[] = [];
  /** Resolves when the thread has ended, with the reason if it should not have. */
  readonly ended: Promise<Error | null>;
  #failure: Error | null = null;
  #closing = false;
  #killed = false;

  constructor(options: SessionOptions, log: (text: string) => void) {
    const worker = new Worker(THREAD_URL, {
      workerData: options,
      stderr: false,
      ...withoutPreloads(process.env),
    });
    this.#worker = worker;
    worker.on("message", (message: ThreadMessage) => {
      if (message.kind === "log") log(message.text);
      else this.#settle(message);
    });
    worker.on("error", (error) => this.#fail(new Error(`the fleet's thread failed: ${error.message}`)));
    this.ended = new Promise((resolve) => {
      worker.on("exit", (code) => {
        const asked = this.#killed || (this.#closing && code === 0);
        if (!asked) this.#fail(new Error(`the fleet's thread ended with ${code}`));
        this.#fail(new Error("the fleet is closed"));
        resolve(asked ? null : this.#failure);
      });
    });
  }

  start(): Promise<SessionStarted> {
    return this.#ask({ kind: "start" }) as Promise<SessionStarted>;
  }

  async load(graph: GraphData): Promise<void> {
    await this.#ask({ kind: "load", graph });
  }

  async prepare(suffix: string): Promise<void> {
    await this.#ask({ kind: "prepare", suffix });
  }

  submit(): Promise<SubmissionReport> {
    return this.#ask({ kind: "submit" }) as Promise<SubmissionReport>;
  }

  async recorded(): Promise<WindowFigures | null> {
    const message = (await this.#ask({ kind: "recorded" })) as FiguresMessage | null;
    return message === null ? null : figuresFromMessage(message);
  }

  release(timeout_ms: number): Promise<ReleaseReport> {
    return this.#ask({ kind: "release", timeout_ms }) as Promise<ReleaseReport>;
  }

  figures(): Promise<FleetFigures> {
    return this.#ask({ kind: "figures" }) as Promise<FleetFigures>;
  }

  /** Everybody leaves, and the thread ends. */
  async close(): Promise<void> {
    if (this.#failure === null && !this.#closing) {
      this.#closing = true;
      await this.#ask({ kind: "close" });
    }
    await this.ended;
  }

  /** Ends the thread at once. */
  async kill(): Promise<void> {
    this.#killed = true;
    await this.#worker.terminate();
    await this.ended;
  }

  #ask(request: ThreadRequest): Promise<ThreadResult> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#worker.postMessage(request);
    });
  }

  #settle(message: Exclude<ThreadMessage, { kind: "log" }>): void {
    const waiting = this.#waiting.shift();
    if (message.kind === "done") waiting?.resolve(message.result);
    else waiting?.reject(new Error(message.error));
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#failure);
  }
}
