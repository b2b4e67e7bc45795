import { randomUUID } from "node:crypto";
import type { Connection, Listener, Transport } from "../../src/comm/connection.ts";
import { handshakeAsConnector, handshakeAsListener } from "../../src/comm/handshake.ts";
import { ProtocolError } from "../../src/protocol/errors.ts";
import { type FramedMessage, frameMessage } from "../../src/protocol/frames.ts";
import { decodeMessage, encodeMessage } from "../../src/protocol/message.ts";
import { toNumber, WireMap, type WireValue } from "../../src/protocol/values.ts";
import { errorReply } from "./answers.ts";
import type { FleetContext } from "./fleet-context.ts";
import { heartbeat, registerWorker, type WorkerIdentity, type WorkerLoad } from "./registration.ts";
import { answerRequest, type RequestSubject } from "./requests.ts";
import { RpcClient } from "./rpc-client.ts";
import { type WorkerPort, ZeroWorker } from "./zero-worker.ts";

/** How often a real worker says `keep-alive` on its stream. */
const KEEP_ALIVE_MS = 60_000;
const LOG_LINES_MAX = 100;
/** Above this, the worker stops reading its stream until the scheduler has read what it was sent. */
const PENDING_BYTES_MAX = 16 * 2 ** 20;

/** What a session is made with. */
export interface WorkerSessionOptions {
  readonly index: number;
  readonly context: FleetContext;
  readonly transport: Transport;
  readonly scheduler_address: string;
  readonly versions: WireMap;
  /** Resident memory of the process, bytes: what each worker reports as its own. */
  readonly rssBytes: () => number;
  /** The worker is gone, whoever wanted it. */
  readonly onClosed: (session: WorkerSession, reason: string) => void;
}

/** The connections and timers around one {@link ZeroWorker}: stream, listener for requests, heartbeats. */
export class WorkerSession implements WorkerPort {
  readonly worker: ZeroWorker;
  readonly #options: WorkerSessionOptions;
  readonly #server_id = `Worker-${randomUUID()}`;
  readonly #log_lines: string[] = [];
  readonly #requests = new Set<Connection>();
  readonly #heartbeats: RpcClient;
  #listener: Listener | null = null;
  #stream: Connection | null = null;
  #heartbeat_timer: NodeJS.Timeout | null = null;
  #keep_alive_timer: NodeJS.Timeout | null = null;
  #paused = false;
  #registered = false;
  #closed = false;

  constructor(options: WorkerSessionOptions) {
    this.#options = options;
    this.worker = new ZeroWorker(options.index, options.context, this);
    this.#heartbeats = new RpcClient(options.transport, options.scheduler_address);
  }

  /** The address that the worker listens at, which is its name: known after {@link start}. */
  get address(): string {
    return this.#listener?.address ?? "";
  }

  /** Listens, registers, and takes tasks from then on. Rejects if the scheduler refuses. */
  async start(): Promise<void> {
    const { transport, scheduler_address, context } = this.#options;
    const stream = await handshakeAsConnector(await transport.connect(scheduler_address));
    this.#stream = stream;
    this.#listener = await transport.listen(listenAddress(stream.local), (peer) => void this.#serve(peer));
    if (this.#closed) {
      stream.destroy("the worker was closed while it started");
      await this.#closeListener();
      throw new Error("the worker was closed while it started");
    }
    const reply = await new Promise<WireValue>((resolve, reject) => {
      stream.onMessage = (message) => {
        try {
          resolve(decodeMessage(message));
        } catch (error) {
          reject(error);
        }
        // The next messages are the stream's: none may be lost between the reply and its handler.
        stream.pause();
      };
      stream.onClose = (reason) =>
        reject(new Error(`registration at ${scheduler_address} failed: ${reason}`));
      stream.write(
        frameMessage(encodeMessage(registerWorker(context.traits, this.#identity(), this.#load()))),
      );
    });
    const interval_s = heartbeatInterval(reply);
    this.#registered = true;
    stream.onMessage = (message) => this.#onStream(message);
    stream.onClose = (reason) => this.close(reason);
    stream.onDrain = () => this.#onDrain();
    this.#log(`registered to ${scheduler_address}`);
    this.worker.say(
      WireMap.of({
        op: "worker-status-change",
        status: "running",
        stimulus_id: this.#stimulus("worker-status-change"),
      }),
    );
    this.#scheduleHeartbeat(interval_s);
    this.#keep_alive_timer = setInterval(
      () => this.worker.say(WireMap.of({ op: "keep-alive" })),
      KEEP_ALIVE_MS,
    );
    stream.resume();
  }

  write(chunks: readonly Uint8Array[]): void {
    const stream = this.#stream;
    if (stream === null) return;
    stream.write(chunks);
    if (stream.pending_bytes > PENDING_BYTES_MAX && !this.#paused) {
      this.#paused = true;
      stream.pause();
    }
  }

  onCloseAsked(reason: string): void {
    this.#log(`asked to close: ${reason}`);
    this.close(reason);
  }

  /** Leaves the cluster as a real worker does: `close-stream`, then the connections. */
  close(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#heartbeat_timer !== null) clearTimeout(this.#heartbeat_timer);
    if (this.#keep_alive_timer !== null) clearInterval(this.#keep_alive_timer);
    this.#options.context.flush();
    this.worker.close();
    if (this.#registered) {
      this.#stream?.write(frameMessage(encodeMessage([WireMap.of({ op: "close-stream" })])));
    }
    this.#stream?.close();
    this.#heartbeats.close();
    for (const connection of this.#requests) connection.close();
    void this.#closeListener().then(() => this.#options.onClosed(this, reason));
  }

  async #closeListener(): Promise<void> {
    try {
      await this.#listener?.close();
    } catch (error) {
      this.#options.context.log(`listener of ${this.address}: ${String(error)}`);
    }
  }

  #onStream(message: FramedMessage): void {
    try {
      this.worker.receive(message);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      // A real worker closes on a message that it cannot take, so that the scheduler notices.
      this.#options.context.log(`${this.address}: ${error.code}: ${error.message}`);
      this.close(error.message);
    }
  }

  #onDrain(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#stream?.resume();
  }

  #scheduleHeartbeat(interval_s: number): void {
    if (this.#closed) return;
    this.#heartbeat_timer = setTimeout(() => void this.#heartbeat(interval_s), interval_s * 1e3);
  }

  async #heartbeat(interval_s: number): Promise<void> {
    const { context } = this.#options;
    let next_s = interval_s;
    try {
      const reply = await this.#heartbeats.call(heartbeat(context.traits, this.#identity(), this.#load()));
      if (this.#closed) return;
      if (reply instanceof WireMap && reply.get("status") === "missing") {
        this.close("the scheduler does not know this worker");
        return;
      }
      next_s = heartbeatInterval(reply);
    } catch (error) {
      if (this.#closed) return;
      context.logOnce("heartbeat", `heartbeat of ${this.address}: ${String(error)}`);
    }
    this.#scheduleHeartbeat(next_s);
  }

  async #serve(connection: Connection): Promise<void> {
    if (this.#closed) {
      connection.destroy("the worker is closed");
      return;
    }
    this.#requests.add(connection);
    connection.onClose = () => this.#requests.delete(connection);
    try {
      await handshakeAsListener(connection);
    } catch (error) {
      this.#requests.delete(connection);
      this.#log(`handshake with ${connection.peer}: ${String(error)}`);
      return;
    }
    let expects_ok = false;
    connection.onClose = () => this.#requests.delete(connection);
    connection.onMessage = (message) => {
      try {
        expects_ok = this.#onRequest(connection, decodeMessage(message), expects_ok);
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        connection.destroy(`${error.code}: ${error.message}`);
      }
    };
  }

  /** Returns whether the peer now owes the bare "OK" of `get_data`. */
  #onRequest(connection: Connection, request: WireValue, expects_ok: boolean): boolean {
    if (expects_ok && request === "OK") return false;
    const op = request instanceof WireMap ? request.get("op") : undefined;
    if (expects_ok || !(request instanceof WireMap) || typeof op !== "string") {
      throw new ProtocolError("BAD_REQUEST", expects_ok ? 'expected "OK" after get_data' : "no operation");
    }
    const wants_reply = request.get("reply") !== false;
    if (op === "close") {
      if (wants_reply) connection.write(frameMessage(encodeMessage("OK")));
      connection.close();
      return false;
    }
    const answer = this.#answer(op, request);
    if (wants_reply) connection.write(frameMessage(encodeMessage(answer.reply)));
    if (request.get("close") === true && !answer.expects_ok) connection.close();
    return answer.expects_ok === true;
  }

  #answer(op: string, request: WireMap): ReturnType<typeof answerRequest> {
    try {
      return answerRequest(this.#subject(), op, request);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      // distributed answers a request whose arguments do not fit like any exception of a handler.
      return { reply: errorReply(error.message, "uncaught-error") };
    }
  }

  #subject(): RequestSubject {
    return {
      worker: this.worker,
      context: this.#options.context,
      server_id: this.#server_id,
      scheduler_address: this.#options.scheduler_address,
      versions: this.#options.versions,
      log_lines: this.#log_lines,
      close: (reason) => setImmediate(() => this.close(reason)),
    };
  }

  #identity(): WorkerIdentity {
    return { address: this.address, server_id: this.#server_id, versions: this.#options.versions };
  }

  #load(): WorkerLoad {
    const { context, index, rssBytes } = this.#options;
    const unix_s = context.clock.unixSeconds(context.clock.now());
    return { unix_s, keys: context.held.counts[index] ?? 0, rss_bytes: rssBytes() };
  }

  #stimulus(name: string): string {
    const { clock } = this.#options.context;
    return `${name}-${clock.unixSeconds(clock.now())}`;
  }

  #log(line: string): void {
    this.#log_lines.push(line);
    if (this.#log_lines.length > LOG_LINES_MAX) this.#log_lines.shift();
  }
}

/** Any port on the interface over which the scheduler is reached: it can reach the worker there too. */
function listenAddress(local: string): string {
  if (!local.startsWith("tcp://")) return `${local.slice(0, local.indexOf("://"))}://`;
  return `${local.slice(0, local.lastIndexOf(":"))}:0`;
}

/** The interval that a reply to `register-worker` or `heartbeat_worker` gives, in seconds. Throws if it is refused. */
function heartbeatInterval(reply: WireValue): number {
  if (!(reply instanceof WireMap) || reply.get("status") !== "OK") {
    const text = reply instanceof WireMap ? reply.get("message") : undefined;
    throw new Error(`the scheduler refused the worker: ${typeof text === "string" ? text : "no status OK"}`);
  }
  const interval_s = toNumber(reply.get("heartbeat-interval"));
  return interval_s !== undefined && interval_s > 0 ? interval_s : 1;
}
