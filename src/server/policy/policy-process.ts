import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { type Batch, PolicyAnswerError } from "../../schedulers/external/messages.ts";
import { ExternalPolicy } from "../../schedulers/external/policy.ts";
import { PHASE } from "../../trace/phases.ts";
import type { Probe } from "../../trace/tracer.ts";
import type { Log } from "../peers/log.ts";
import { encodePolicyMessage, PolicyPipeError, PolicyPipeReader } from "./policy-pipe.ts";

export interface PolicyProcessOptions {
  /** For the shell. */
  readonly command: string;
  readonly seed: number;
  readonly probe: Probe;
  readonly log: Log;
  /** Something came in that the next turn will heed. */
  readonly touch: () => void;
  /** From the start to the first answer. */
  readonly start_ms_max?: number;
}

/** Version of the format: docs/external-policy.md. */
const PROTOCOL = 1;
const START_MS_MAX = 30_000;
/** Without an answer for so long, while tasks wait for one, the log says so. */
const SILENCE_MS = 30_000;
const CLOSE_MS_MAX = 1_000;
const LINE_CHARACTERS_MAX = 2_000;

/** The policy's process does not start; the message says why. */
export class PolicyStartError extends Error {
  override readonly name = "PolicyStartError";
}

/**
 * A policy in a process of its own, behind a pipe: batches on its stdin, answers on its stdout, its stderr in the log. When it ends or
 * answers nonsense, that is said once, and the policy that stands in goes on.
 */
export class PolicyProcess {
  readonly policy: ExternalPolicy;
  readonly #options: PolicyProcessOptions;
  #child: ChildProcessWithoutNullStreams | null = null;
  #greeted = false;
  #greet: (error: PolicyStartError | null) => void = () => undefined;
  #ended: Promise<void> = Promise.resolve();
  #closing = false;
  #last_line = "";
  #silence: NodeJS.Timeout | null = null;

  constructor(options: PolicyProcessOptions) {
    this.#options = options;
    this.policy = new ExternalPolicy({ seed: options.seed, send: (batch) => this.#send(batch) });
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** Resolves with its first answer; rejects with PolicyStartError. Before any worker or task is there. */
  async start(): Promise<void> {
    const { command, start_ms_max = START_MS_MAX } = this.#options;
    const child = spawn(command, { shell: true, stdio: "pipe", detached: true });
    this.#child = child;
    const greeted = new Promise<void>((resolve, reject) => {
      this.#greet = (error) => (error === null ? resolve() : reject(error));
    });
    const timer = setTimeout(() => this.#fail(`no answer within ${start_ms_max / 1000} s`), start_ms_max);
    this.#watch(child);
    this.#write({ batch: 0, protocol: PROTOCOL, news: [] });
    try {
      await greeted;
    } finally {
      clearTimeout(timer);
    }
  }

  #watch(child: ChildProcessWithoutNullStreams): void {
    const reader = new PolicyPipeReader((message) => this.#onMessage(message));
    child.stdout.on("data", (chunk: Buffer) => this.#onData(reader, chunk));
    child.stderr.setEncoding("utf8").on("data", (text: string) => this.#onText(text));
    // A pipe that breaks: the end of the process tells more, and always follows.
    child.stdin.on("error", () => undefined);
    child.on("error", (error) => this.#fail(`it does not start: ${error.message}`));
    this.#ended = new Promise((resolve) => {
      child.on("close", (code, signal) => {
        const how = signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`;
        if (!this.#closing)
          this.#fail(this.#last_line === "" ? `it ${how}` : `it ${how}: ${this.#last_line}`);
        resolve();
      });
    });
  }

  #onData(reader: PolicyPipeReader, chunk: Buffer): void {
    const { tracer } = this.#options.probe;
    tracer?.begin("read", PHASE.policy);
    try {
      if (this.policy.failure === null) reader.push(chunk);
    } catch (error) {
      if (!(error instanceof PolicyAnswerError) && !(error instanceof PolicyPipeError)) throw error;
      this.#fail(error.message);
    } finally {
      tracer?.end();
    }
    this.#options.touch();
  }

  #onMessage(message: unknown): void {
    if (this.#greeted) {
      this.policy.answer(message);
      this.#listen();
      return;
    }
    const batch =
      typeof message === "object" && message !== null && "batch" in message ? message.batch : undefined;
    if (batch !== 0) throw new PolicyAnswerError("its first answer is not to batch 0");
    this.#greeted = true;
    this.#greet(null);
  }

  #onText(text: string): void {
    for (const line of text.split("\n")) {
      if (line.trim() === "") continue;
      this.#last_line = line.slice(0, LINE_CHARACTERS_MAX);
      this.#options.log.write("INFO", `policy: ${this.#last_line}`);
    }
  }

  #send(batch: Batch): void {
    const { tracer } = this.#options.probe;
    tracer?.enter(PHASE.policy);
    this.#write(batch);
    tracer?.exit();
    this.#listen();
  }

  #write(message: unknown): void {
    if (this.#child?.stdin.writable) this.#child.stdin.write(encodePolicyMessage(message));
  }

  /** Says so when tasks wait and no answer comes; a policy may think for long, so that nothing more is done about it. */
  #listen(): void {
    if (this.#silence !== null) clearTimeout(this.#silence);
    this.#silence = null;
    if (this.policy.unanswered === 0) return;
    this.#silence = setTimeout(() => {
      const text = `The policy \`${this.#options.command}\` has not answered for ${SILENCE_MS / 1000} s`;
      if (this.policy.withheld) this.#options.log.write("WARNING", `${text}: tasks wait for it`);
      this.#listen();
    }, SILENCE_MS);
    this.#silence.unref();
  }

  #fail(reason: string): void {
    const { command, log, touch } = this.#options;
    if (!this.#greeted) {
      this.policy.fail(reason);
      this.#greet(new PolicyStartError(`The policy \`${command}\` cannot be used: ${reason}`));
      this.#kill();
      return;
    }
    if (this.policy.failure !== null || this.#closing) return;
    log.write(
      "ERROR",
      `The policy \`${command}\` failed: ${reason}. From here on tasks are placed by the policy workstealing`,
    );
    this.policy.fail(reason);
    if (this.#silence !== null) clearTimeout(this.#silence);
    this.#child?.stdin.end();
    touch();
  }

  /** The shell, and what it has started: a group of processes of its own. */
  #kill(): void {
    if (this.#child?.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, "SIGKILL");
    } catch (error) {
      // It has ended by itself.
      if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
    }
  }

  async close(): Promise<void> {
    this.#closing = true;
    if (this.#silence !== null) clearTimeout(this.#silence);
    const child = this.#child;
    if (child === null) return;
    child.stdin.end();
    const kill = setTimeout(() => this.#kill(), CLOSE_MS_MAX);
    await this.#ended;
    clearTimeout(kill);
  }
}
