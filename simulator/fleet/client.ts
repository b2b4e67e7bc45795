import { randomUUID } from "node:crypto";
import type { Connection, Transport } from "../../src/comm/connection.ts";
import { handshakeAsConnector } from "../../src/comm/handshake.ts";
import { ProtocolError } from "../../src/protocol/errors.ts";
import { type FramedMessage, frameMessage } from "../../src/protocol/frames.ts";
import { keyBytes } from "../../src/protocol/keys.ts";
import { decodeMessage, encodeMessage } from "../../src/protocol/message.ts";
import { unpackValue } from "../../src/protocol/msgpack.ts";
import { RawValue, WireMap, type WireValue } from "../../src/protocol/values.ts";
import type { FleetClock } from "./clock.ts";
import { elements, Fields, isPlainKey, labelBytes, NO_FIELD, opBytes, skip } from "./fields.ts";
import { HeldKeys } from "./held-keys.ts";

const IN_MEMORY = [opBytes("key-in-memory")];
const KEY_LABEL = labelBytes("key");
/** As Dask's client does. */
const HEARTBEAT_MS = 5_000;

/** What became of one submission. Times in ns of the fleet's clock. */
export interface SubmissionTimes {
  /** The first byte of the graph was handed to the connection. */
  readonly submitted_ns: number;
  /** The last wanted key was reported to be in memory. */
  readonly reported_ns: number;
}

interface Submission {
  /** Wanted keys that were not reported yet, held by "worker" 0. */
  readonly missing: HeldKeys;
  readonly submitted_ns: number;
  readonly resolve: (times: SubmissionTimes) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Stands in for a Dask client: registers, submits ready-made graph messages, and waits until every wanted key is
 * in memory. One submission at a time.
 */
export class ClientStandIn {
  readonly #id = `Client-${randomUUID()}`;
  readonly #transport: Transport;
  readonly #clock: FleetClock;
  #connection: Connection | null = null;
  #submission: Submission | null = null;
  #heartbeat_timer: NodeJS.Timeout | null = null;
  #closed_reason: string | null = null;
  readonly #fields = new Fields();

  constructor(transport: Transport, clock: FleetClock) {
    this.#transport = transport;
    this.#clock = clock;
  }

  /** Registers. `versions` is what the client claims to run. Rejects if the scheduler refuses. */
  async connect(address: string, versions: WireMap): Promise<void> {
    const connection = await handshakeAsConnector(await this.#transport.connect(address));
    const first = await new Promise<WireValue>((resolve, reject) => {
      connection.onMessage = (message) => {
        connection.pause();
        resolve(decodeMessage(message.own()));
      };
      connection.onClose = (reason) =>
        reject(new Error(`registration of the client at ${address}: ${reason}`));
      const register = WireMap.of({ op: "register-client", client: this.#id, reply: false, versions });
      connection.write(frameMessage(encodeMessage(register)));
    });
    const start = Array.isArray(first) ? first[0] : first;
    if (!(start instanceof WireMap) || start.get("op") !== "stream-start") {
      connection.destroy("no stream-start");
      throw new Error(`the scheduler at ${address} did not start the client's stream`);
    }
    this.#connection = connection;
    connection.onMessage = (message) => this.#onMessage(message);
    connection.onClose = (reason) => this.#onClose(reason);
    this.#heartbeat_timer = setInterval(() => {
      this.#send(WireMap.of({ op: "heartbeat-client" }));
    }, HEARTBEAT_MS);
    connection.resume();
  }

  /**
   * Hands over a graph and waits for its wanted keys. Rejects when one of them errs, is cancelled or lost, or the
   * scheduler goes away.
   */
  submit(chunks: readonly Uint8Array[], wanted: readonly Uint8Array[]): Promise<SubmissionTimes> {
    const connection = this.#connection;
    if (connection === null || this.#submission !== null)
      throw new Error("the client is not ready to submit");
    const missing = new HeldKeys(1);
    for (const key of wanted) missing.add(0, key, 0, key.length);
    return new Promise((resolve, reject) => {
      const submitted_ns = this.#clock.now();
      this.#submission = { missing, submitted_ns, resolve, reject };
      connection.write(chunks);
      if (missing.total === 0) this.#finish(this.#clock.now());
    });
  }

  /** What was submitted will never end: its promise rejects. */
  giveUp(reason: string): void {
    this.#fail(reason);
  }

  /** Tells the scheduler that the keys are not wanted any more. */
  release(wanted: readonly Uint8Array[]): void {
    const keys = wanted.map((key) => new RawValue(key));
    this.#send(WireMap.of({ op: "client-releases-keys", keys, client: this.#id }));
  }

  /** Leaves as a client does. */
  close(): void {
    if (this.#connection === null) return;
    this.#send(WireMap.of({ op: "close-client" }));
    this.#send(WireMap.of({ op: "close-stream" }));
    const connection = this.#connection;
    this.#onClose("closed");
    connection.close();
  }

  #send(message: WireMap): void {
    this.#connection?.write(frameMessage(encodeMessage([message])));
  }

  #onMessage(message: FramedMessage): void {
    const submission = this.#submission;
    if (submission === null) return; // late news of keys that were released
    const now_ns = this.#clock.now();
    try {
      this.#take(submission, message);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#connection?.destroy(`${error.code}: ${error.message}`);
    }
    if (this.#submission === submission && submission.missing.total === 0) this.#finish(now_ns);
  }

  /** News of keys in memory is read in its bytes, since a graph may have as many wanted keys as tasks. */
  #take(submission: Submission, message: FramedMessage): void {
    const { bytes } = message;
    const end = message.frameEnd(0);
    let { at, count } = elements(bytes, message.frameStart(0), end);
    for (; count > 0; count--) {
      const next = skip(bytes, at, end);
      if (next > end) throw new ProtocolError("TRUNCATED", "news that end outside their frame");
      if (!this.#takeInMemory(submission, bytes, at, next))
        this.#takeOther(submission, unpackValue(bytes, at, next));
      at = next;
    }
  }

  #takeInMemory(submission: Submission, bytes: Uint8Array, at: number, end: number): boolean {
    const fields = this.#fields;
    const count = fields.count(bytes, at, IN_MEMORY);
    if (count === NO_FIELD || !fields.find(bytes, at, end, count, KEY_LABEL)) return false;
    if (!isPlainKey(bytes, fields.start, fields.end)) return false;
    submission.missing.remove(0, bytes, fields.start, fields.end);
    return true;
  }

  #takeOther(submission: Submission, news: WireValue): void {
    if (!(news instanceof WireMap)) return;
    const op = String(news.get("op"));
    if (op !== "key-in-memory") {
      this.#takeBadNews(submission, op, news);
      return;
    }
    const key = keyBytes(news.get("key") ?? null);
    submission.missing.remove(0, key, 0, key.length);
  }

  /** The end of a wanted key, however it is told; other operations are of no interest. */
  #takeBadNews(submission: Submission, op: string, news: WireMap): void {
    const one = ["task-erred", "lost-data", "cancelled-key"].includes(op);
    const keys = one ? [news.get("key") ?? null] : op === "cancelled-keys" ? news.get("keys") : [];
    if (op === "error") this.#fail("the scheduler reported an error");
    for (const value of Array.isArray(keys) ? keys : []) {
      const key = keyBytes(value);
      if (submission.missing.has(0, key, 0, key.length)) this.#fail(`${op}: ${String(value)}`);
    }
  }

  #finish(reported_ns: number): void {
    const submission = this.#submission;
    this.#submission = null;
    submission?.resolve({ submitted_ns: submission.submitted_ns, reported_ns });
  }

  #fail(text: string): void {
    const submission = this.#submission;
    this.#submission = null;
    submission?.reject(new Error(text));
  }

  #onClose(reason: string): void {
    if (this.#closed_reason !== null) return;
    this.#closed_reason = reason;
    this.#connection = null;
    if (this.#heartbeat_timer !== null) clearInterval(this.#heartbeat_timer);
    this.#fail(`the scheduler ended the client's stream: ${reason}`);
  }
}
