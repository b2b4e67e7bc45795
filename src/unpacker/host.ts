import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { messageOfFrames } from "../protocol/frames.ts";
import { decodeMessage, encodeMessage } from "../protocol/message.ts";
import { WireMap, type WireValue } from "../protocol/values.ts";
import { encodePipeMessage, PipeError, type PipeHead, type PipeMessage, PipeReader } from "./pipe.ts";

/** Frames of a message as Dask's peers write them. */
export type Frames = readonly Uint8Array[];

export interface HostOptions {
  readonly python: string;
  /** Answers what code in the host asks of the scheduler: the value, or the error that Python raises there. */
  readonly onAsk: (what: string, fields: WireMap) => Promise<{ ok: boolean; value: WireValue }>;
  /** A line that the host, or user code in it, wrote to stderr or stdout. */
  readonly onLine: (line: string) => void;
  /** The process has ended; all that was asked of it has failed. */
  readonly onEnd: (why: string) => void;
  readonly start_ms_max?: number;
}

/** The host cannot run anything: it does not start, or has ended. */
export class HostError extends Error {
  override readonly name = "HostError";
}

/** What a feed sends: an item, or at its end an error. */
export type FeedListener = (frames: Frames, over: boolean) => void;

interface Waiting {
  resolve(frames: Frames): void;
  reject(error: Error): void;
}

const LINE_CHARACTERS_MAX = 2_000;
const CLOSE_MS_MAX = 3_000;
const START_MS_MAX = 120_000;
const PACKAGE_FOLDER = fileURLToPath(new URL("./python", import.meta.url));
// As the unpacker is launched (child.ts): the package's folder is on the path only while it is imported.
const LAUNCH =
  "import sys; sys.path[:] = [sys.argv[1]] + [path for path in sys.path if path]; " +
  "from rsds_host import service as _s; del sys.path[0]; _s.main(sys.argv[2:])";

/**
 * One Python process that runs what Dask would run inside its scheduler. It is asked many things at once, and may
 * ask back at any time; code in it that does not return holds up whatever else is asked of it, but nothing here.
 */
export class PythonHost {
  readonly #options: HostOptions;
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #reader: PipeReader;
  readonly #waiting = new Map<number, Waiting>();
  readonly #feeds = new Map<number, FeedListener>();
  readonly #ended: Promise<void>;
  readonly #timer: NodeJS.Timeout;
  /** Null until the host has said hello: what is sent before waits here. */
  #unsent: Uint8Array[] | null = [];
  #over: HostError | null = null;
  #next_id = 1;

  constructor(options: HostOptions) {
    this.#options = options;
    this.#reader = new PipeReader((message) => this.#onMessage(message));
    this.#process = spawn(options.python, ["-c", LAUNCH, PACKAGE_FOLDER], { stdio: "pipe" });
    this.#ended = new Promise((resolve) => this.#watch(resolve));
    const ms = options.start_ms_max ?? START_MS_MAX;
    this.#timer = setTimeout(() => this.#end(`did not start within ${ms / 1000} s`), ms);
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  get alive(): boolean {
    return this.#over === null;
  }

  /**
   * Has the host carry out `op` with these fields, and answers with the frames of its reply, serialized as the peer
   * that asked can read it. Throws HostError.
   */
  request(op: string, fields: WireMap, serializers: readonly string[] | null = null): Promise<Frames> {
    const id = this.#next_id++;
    return this.#request(id, op, fields, serializers);
  }

  /** Starts a feed: resolves to its number once it runs. `listener` gets its items until {@link stopFeed}. */
  async feed(
    fields: WireMap,
    serializers: readonly string[] | null,
    listener: FeedListener,
  ): Promise<{ id: number; reply: Frames }> {
    const id = this.#next_id++;
    this.#feeds.set(id, listener);
    const reply = await this.#request(id, "feed", fields, serializers);
    return { id, reply };
  }

  stopFeed(id: number): void {
    this.#feeds.delete(id);
    this.#send({ op: "feed-stop", id }, []);
  }

  /** Events for plugins: [method, positional arguments, keyword arguments] of each. */
  events(events: readonly WireValue[]): void {
    this.#send({ op: "events" }, encodeMessage([...events]));
  }

  /** Ends the process: plugins are told, and have a moment for it. */
  async close(): Promise<void> {
    this.#process.stdin.end();
    const kill = setTimeout(() => this.#process.kill("SIGKILL"), CLOSE_MS_MAX);
    await this.#ended;
    clearTimeout(kill);
  }

  #request(id: number, op: string, fields: WireMap, serializers: readonly string[] | null): Promise<Frames> {
    return new Promise((resolve, reject) => {
      if (this.#over !== null) {
        reject(this.#over);
        return;
      }
      this.#waiting.set(id, { resolve, reject });
      this.#send({ op, id, ...(serializers === null ? {} : { serializers }) }, encodeMessage(fields));
    });
  }

  #send(head: PipeHead, frames: Frames): void {
    if (this.#over !== null) return;
    const chunks = encodePipeMessage(head, frames);
    if (this.#unsent !== null) this.#unsent.push(...chunks);
    else for (const chunk of chunks) this.#process.stdin.write(chunk);
  }

  #onMessage({ head, sections }: PipeMessage): void {
    const id = Number(head.id);
    if (head.op === "hello") this.#onHello(head);
    else if (head.op === "ask") void this.#answer(id, String(head.what), sections);
    else if (head.op === "result") {
      this.#waiting.get(id)?.resolve(sections);
      this.#waiting.delete(id);
    } else if (head.op === "feed-item") this.#feeds.get(id)?.(sections, false);
    else if (head.op === "feed-end") {
      const listener = this.#feeds.get(id);
      this.#feeds.delete(id);
      listener?.(sections, true);
    } else throw new PipeError(`an unknown message ${String(head.op)}`);
  }

  #onHello(head: PipeHead): void {
    clearTimeout(this.#timer);
    if (typeof head.error === "string") {
      this.#end(`cannot start (${String(head.executable)}): ${head.error}`);
      return;
    }
    const unsent = this.#unsent ?? [];
    this.#unsent = null;
    for (const chunk of unsent) this.#process.stdin.write(chunk);
  }

  async #answer(id: number, what: string, sections: Frames): Promise<void> {
    const fields = decodeMessage(messageOfFrames(sections));
    const { ok, value } = await this.#options.onAsk(what, fields instanceof WireMap ? fields : new WireMap());
    this.#send({ op: "answer", id, ok }, encodeMessage(value));
  }

  #watch(resolve: () => void): void {
    const child = this.#process;
    child.stdout.on("data", (chunk: Buffer) => {
      if (this.#over !== null) return;
      try {
        this.#reader.push(chunk);
      } catch (error) {
        if (!(error instanceof PipeError)) throw error;
        this.#end(`wrote ${error.message}`);
      }
    });
    let rest = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = (lines.pop() ?? "").slice(0, LINE_CHARACTERS_MAX);
      for (const line of lines) this.#options.onLine(line.slice(0, LINE_CHARACTERS_MAX));
    });
    // EPIPE when the process is gone: its exit tells more, and always follows.
    child.stdin.on("error", () => undefined);
    child.on("error", (error) => {
      this.#end(`does not start: ${error.message}`);
      if (child.pid === undefined) resolve();
    });
    child.on("close", (code, signal) => {
      this.#end(signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`);
      resolve();
    });
  }

  /** The first cause counts; later ones are its consequences. */
  #end(why: string): void {
    if (this.#over !== null) return;
    const error = new HostError(`the scheduler's Python process ${why}`);
    this.#over = error;
    clearTimeout(this.#timer);
    this.#process.kill("SIGKILL");
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
    this.#feeds.clear();
    this.#options.onEnd(why);
  }
}
