import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { PHASE } from "../trace/phases.ts";
import type { Probe } from "../trace/tracer.ts";
import { readHello } from "./answers.ts";
import { UnpackError, type UnpackerHello } from "./graph.ts";
import { encodePipeMessage, PipeError, type PipeHead, type PipeMessage, PipeReader } from "./pipe.ts";

export type SendToChild = (head: PipeHead, sections: readonly Uint8Array[]) => void;

/** What a child works on: one at a time. */
export interface ChildJob {
  /** The child has said hello and is the job's until it is finished. Throws UnpackError if it will not do. */
  begin(hello: UnpackerHello, send: SendToChild): void;
  /** Throws PipeError for an answer that makes no sense. */
  onMessage(message: PipeMessage): "working" | "waiting" | "finished";
  onError(error: UnpackError): void;
}

export interface ChildOptions {
  readonly python: string;
  /** Modules that are imported while nothing is asked for. */
  readonly preload: readonly string[];
  /** From spawn to hello. */
  readonly start_ms_max: number;
  /** Without a byte from a child that has work to do. */
  readonly stall_ms_max: number;
  readonly probe: Probe;
  /** A line that the child, or user code in it, wrote to stderr or stdout. */
  readonly onLine: (line: string) => void;
}

const STDERR_LINES_MAX = 20;
const LINE_CHARACTERS_MAX = 2000;
const CLOSE_MS_MAX = 1000;
// The package's folder is on the path only while it is imported; the working directory, which -c would put
// there, is not on the path of `dask scheduler` either. And __main__ stays nearly empty: a user's function that
// travels by value must not meet a namesake there.
const LAUNCH =
  "import sys; sys.path[:] = [sys.argv[1]] + [path for path in sys.path if path]; " +
  "from rsds_unpacker import service as _s; del sys.path[0]; _s.main(sys.argv[2:])";
const PACKAGE_FOLDER = fileURLToPath(new URL("./python", import.meta.url));

/** One Python process. It ends once, whatever the cause; then `onEnd` is called and it is of no more use. */
export class UnpackerChild {
  hello: UnpackerHello | null = null;
  readonly #options: ChildOptions;
  readonly #onHello: (child: UnpackerChild) => void;
  readonly #onFree: (child: UnpackerChild) => void;
  readonly #onEnd: (child: UnpackerChild) => void;
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #reader: PipeReader;
  readonly #lines: string[] = [];
  readonly #ended: Promise<void>;
  #job: ChildJob | null = null;
  #timer: NodeJS.Timeout;
  #over: UnpackError | null = null;

  constructor(
    options: ChildOptions,
    events: {
      onHello: (child: UnpackerChild) => void;
      onFree: (child: UnpackerChild) => void;
      onEnd: (child: UnpackerChild) => void;
    },
  ) {
    this.#options = options;
    this.#onHello = events.onHello;
    this.#onFree = events.onFree;
    this.#onEnd = events.onEnd;
    this.#reader = new PipeReader((message) => this.#onMessage(message));
    this.#process = spawn(options.python, ["-c", LAUNCH, PACKAGE_FOLDER, ...options.preload], {
      stdio: "pipe",
    });
    this.#ended = new Promise((resolve) => this.#watch(resolve));
    this.#timer = setTimeout(() => this.#stalled(), options.start_ms_max);
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  get busy(): boolean {
    return this.#job !== null;
  }

  /** Only for a child that is not busy. Before the hello the job waits for it, unless it is {@link takeBack taken back}. */
  start(job: ChildJob): void {
    this.#job = job;
    if (this.hello !== null) this.#begin(job, this.hello);
  }

  /** The job that waits for the hello, for another child that is ready now; null: there is none. */
  takeBack(): ChildJob | null {
    if (this.hello !== null) return null;
    const job = this.#job;
    this.#job = null;
    return job;
  }

  /** A message of the job at hand: the child, which waited, works again. */
  #send(head: PipeHead, sections: readonly Uint8Array[]): void {
    const { tracer } = this.#options.probe;
    tracer?.enter(PHASE.unpack);
    for (const bytes of encodePipeMessage(head, sections)) this.#process.stdin.write(bytes);
    tracer?.exit();
    this.#restartTimer();
  }

  /** Ends the process; the job at hand gets an error. */
  async close(): Promise<void> {
    this.#fail(new UnpackError("CLOSED", "the unpacker is closed"));
    this.#process.stdin.end();
    // While it imports it does not read its pipe, and there is nothing in it to lose.
    if (this.hello === null) this.#process.kill("SIGKILL");
    const kill = setTimeout(() => this.#process.kill("SIGKILL"), CLOSE_MS_MAX);
    await this.#ended;
    clearTimeout(kill);
  }

  #begin(job: ChildJob, hello: UnpackerHello): void {
    try {
      job.begin(hello, (head, sections) => this.#send(head, sections));
    } catch (error) {
      if (!(error instanceof UnpackError)) throw error;
      this.#free();
      job.onError(error);
    }
  }

  #watch(resolve: () => void): void {
    const child = this.#process;
    let exit_text = "it ended";
    child.stdout.on("data", (chunk: Buffer) => this.#onData(chunk));
    this.#collectLines();
    // EPIPE when the child is gone: its exit tells more, and always follows.
    child.stdin.on("error", () => undefined);
    child.on("error", (error) => {
      this.#fail(new UnpackError("NO_PYTHON", `${this.#options.python} does not start: ${error.message}`));
      if (child.pid === undefined) finish();
    });
    child.on("exit", (code, signal) => {
      exit_text = signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`;
      // "close" follows when the pipes are read to the end; a process that user code forked may hold them open.
      setTimeout(finish, 500);
    });
    child.on("close", () => finish());
    let finished = false;
    const finish = (): void => {
      if (finished) return;
      finished = true;
      this.#fail(new UnpackError("DIED", this.#withLines(`the unpacker (pid ${child.pid}) ${exit_text}`)));
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
      resolve();
    };
  }

  #onData(chunk: Buffer): void {
    if (this.#over !== null) return;
    this.#restartTimer();
    const { tracer } = this.#options.probe;
    tracer?.begin("unpack", PHASE.unpack);
    try {
      this.#reader.push(chunk);
    } catch (error) {
      if (!(error instanceof PipeError)) throw error;
      this.#process.kill("SIGKILL");
      this.#fail(new UnpackError("DIED", `the unpacker (pid ${this.pid}) wrote ${error.message}`));
    } finally {
      tracer?.end();
    }
  }

  #onMessage(message: PipeMessage): void {
    if (this.#over !== null) return;
    if (message.head.op === "hello") {
      this.#onHelloMessage(message.head);
      return;
    }
    const job = this.#job;
    if (job === null) throw new PipeError("an answer that nobody asked for");
    const state = job.onMessage(message);
    if (state === "waiting") clearTimeout(this.#timer);
    else if (state === "finished") this.#free();
  }

  #onHelloMessage(head: PipeHead): void {
    if (typeof head.error === "string") {
      const what = `${head.executable} (Python ${head.python}) cannot open dask graphs: ${head.error}`;
      this.#fail(
        new UnpackError("NO_DASK", `${what}; name a Python that has dask and distributed (--python)`),
      );
      return;
    }
    const hello = readHello(head);
    this.hello = hello;
    clearTimeout(this.#timer);
    this.#onHello(this);
    if (this.#job === null) this.#onFree(this);
    else this.#begin(this.#job, hello);
  }

  #free(): void {
    this.#job = null;
    clearTimeout(this.#timer);
    // In a microtask: the job's own handlers run to their end before the next job begins.
    queueMicrotask(() => {
      if (this.#over === null) this.#onFree(this);
    });
  }

  #stalled(): void {
    const started = this.hello !== null;
    const ms = started ? this.#options.stall_ms_max : this.#options.start_ms_max;
    const doing = started ? "made no progress with a graph" : "did not start";
    this.#process.kill("SIGKILL");
    const text = `the unpacker (pid ${this.pid}) ${doing} for ${ms / 1000} s and was ended`;
    this.#fail(new UnpackError("STALLED", this.#withLines(text)));
  }

  #restartTimer(): void {
    if (this.#over !== null || this.hello === null || this.#job === null) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#stalled(), this.#options.stall_ms_max);
  }

  /** The first cause counts; later ones are its consequences. */
  #fail(error: UnpackError): void {
    if (this.#over !== null) return;
    this.#over = error;
    clearTimeout(this.#timer);
    const job = this.#job;
    this.#job = null;
    this.#onEnd(this);
    job?.onError(error);
  }

  /** What ended this child, once it has. */
  get failure(): UnpackError | null {
    return this.#over;
  }

  #collectLines(): void {
    let rest = "";
    this.#process.stderr.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = (lines.pop() ?? "").slice(0, LINE_CHARACTERS_MAX);
      for (const line of lines) this.#onLine(line.slice(0, LINE_CHARACTERS_MAX));
    });
    this.#process.stderr.on("end", () => {
      if (rest !== "") this.#onLine(rest);
    });
  }

  #onLine(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > STDERR_LINES_MAX) this.#lines.shift();
    this.#options.onLine(line);
  }

  #withLines(text: string): string {
    return this.#lines.length === 0 ? text : `${text}; it wrote last:\n${this.#lines.join("\n")}`;
  }
}
