import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type FiguresMessage, figuresFromMessage, type WindowFigures } from "../../src/trace/figures.ts";
import type { FleetFigures } from "./fleet.ts";
import type { GraphData } from "./graph-message.ts";
import type { FleetDose, FleetMessage, FleetRequest, FleetResult } from "./process-protocol.ts";
import type {
  FleetDriver,
  ReleaseReport,
  SessionOptions,
  SessionStarted,
  SubmissionReport,
} from "./session.ts";
import type { WorkerStamps } from "./stamps.ts";

interface Waiting {
  readonly resolve: (result: FleetResult) => void;
  readonly reject: (error: Error) => void;
}

/** Processes run compiled code only: from the sources (in tests) the build's entry is taken. */
const ENTRY = fileURLToPath(
  new URL(
    import.meta.url.endsWith(".ts") ? "../../dist/simulator/fleet/process.js" : "./process.js",
    import.meta.url,
  ),
);

/** NODE_OPTIONS preload the probes of profilers, mostly, which are for the scheduler alone. */
function withoutNodeOptions(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _, ...env } = process.env;
  return env;
}

/**
 * A fleet and its client stand-in in a process of their own, over TCP, so that neither their work nor what V8 does
 * for it on threads of its own is counted as the scheduler's. A process that dies rejects whatever waits for it, and
 * everything that is asked of it later.
 */
export class FleetProcess implements FleetDriver {
  readonly #child: ChildProcess;
  readonly #options: SessionOptions;
  readonly #waiting: Waiting[] = [];
  /** Resolves when the process has ended, with the reason if it should not have. */
  readonly ended: Promise<Error | null>;
  #failure: Error | null = null;
  #closing = false;
  #killed = false;

  constructor(options: SessionOptions, log: (text: string) => void) {
    this.#options = options;
    const child = fork(ENTRY, [], {
      serialization: "advanced",
      execArgv: [],
      env: withoutNodeOptions(),
      // stdout is the result's.
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.#child = child;
    child.on("message", (message: FleetMessage) => {
      if (message.kind === "log") log(message.text);
      else this.#settle(message);
    });
    child.on("error", (error) => this.#fail(new Error(`the fleet's process failed: ${error.message}`)));
    this.ended = new Promise((resolve) => {
      child.on("close", (code, signal) => {
        const asked = this.#killed || (this.#closing && code === 0);
        if (!asked) this.#fail(new Error(`the fleet's process ended with ${signal ?? code}`));
        this.#fail(new Error("the fleet is closed"));
        resolve(asked ? null : this.#failure);
      });
    });
  }

  start(): Promise<SessionStarted> {
    return this.#ask({ kind: "start", options: this.#options }) as Promise<SessionStarted>;
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

  stamps(): Promise<readonly WorkerStamps[]> {
    return this.#ask({ kind: "stamps" }) as Promise<readonly WorkerStamps[]>;
  }

  /** Plants a delay in the fleet's spans, from here on; null: no more. Of no effect without `planting`. */
  async plant(dose: FleetDose | null): Promise<void> {
    await this.#ask({ kind: "plant", dose });
  }

  /** Beginning and end of each delay since the last dose, ns. */
  planted(): Promise<Float64Array> {
    return this.#ask({ kind: "planted" }) as Promise<Float64Array>;
  }

  release(timeout_ms: number): Promise<ReleaseReport> {
    return this.#ask({ kind: "release", timeout_ms }) as Promise<ReleaseReport>;
  }

  figures(): Promise<FleetFigures> {
    return this.#ask({ kind: "figures" }) as Promise<FleetFigures>;
  }

  /** Everybody leaves, and the process ends. */
  async close(): Promise<void> {
    if (this.#failure === null && !this.#closing) {
      this.#closing = true;
      await this.#ask({ kind: "close" });
    }
    await this.ended;
  }

  /** Ends the process at once. */
  async kill(): Promise<void> {
    this.#killed = true;
    this.#child.kill("SIGKILL");
    await this.ended;
  }

  #ask(request: FleetRequest): Promise<FleetResult> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#child.send(request, (error) => {
        if (error !== null) this.#fail(new Error(`the fleet's process cannot be reached: ${error.message}`));
      });
    });
  }

  #settle(message: Exclude<FleetMessage, { kind: "log" }>): void {
    const waiting = this.#waiting.shift();
    if (message.kind === "done") waiting?.resolve(message.result);
    else waiting?.reject(new Error(message.error));
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#failure);
  }
}
