import type { Machine, Timer } from "../../base/machine.ts";
import type { Connection, Transport } from "../../comm/connection.ts";
import { decodeMessage } from "../../protocol/message.ts";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import { REAL_MACHINE } from "../../trace/machine.ts";
import { Channel, ChannelClosedError } from "../peers/channel.ts";
import { PythonError, RemoteError } from "./python-error.ts";

export interface PoolLimits {
  /** Connections open at once, in use or idle (Dask: half of the process's file limit). */
  readonly connections_max: number;
  /** For connecting and the handshake together, all attempts included. */
  readonly connect_ms: number;
  /** An idle connection is closed after so long. */
  readonly idle_ms: number;
}

export const DEFAULT_POOL_LIMITS: PoolLimits = {
  connections_max: 512,
  connect_ms: 30_000,
  idle_ms: 60_000,
};

/**
 * The network's own errors: whoever cannot be reached now may be in a moment (a worker that starts, a proxy beside it, a name
 * that is new), so the attempt is made again until `connect_ms` is over.
 */
const PASSING = new Set([
  "EAI_AGAIN",
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "ETIMEDOUT",
]);
const CONNECT_PAUSE_MS = { first: 20, most: 1_000 };

/** The peer cannot be reached, or broke off: what Python calls an OSError. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";
}

/** An address that is being connected to; one whose peer was removed meanwhile is not tried again. */
interface Attempt {
  readonly address: string;
  removed: boolean;
  wake: () => void;
}

interface Idle {
  readonly channel: Channel;
  readonly timer: Timer;
}

/**
 * Connections from the server to workers and nannies, for requests and answers. One request at a time on each; a
 * connection that is free again is kept for the next request to the same address.
 */
export class WorkerPool {
  readonly #transport: Transport;
  readonly #handshake: (connection: Connection) => Promise<Connection>;
  readonly #limits: PoolLimits;
  readonly #machine: Machine;
  readonly #idle = new Map<string, Idle[]>();
  readonly #busy = new Map<string, Set<Channel>>();
  readonly #waiting: (() => void)[] = [];
  readonly #connecting = new Set<Attempt>();
  /** Open or being opened. */
  #open_count = 0;
  #closed = false;

  /** `handshake`: makes a fresh connection ready, as the side that connected. */
  constructor(
    transport: Transport,
    handshake: (connection: Connection) => Promise<Connection>,
    limits: PoolLimits = DEFAULT_POOL_LIMITS,
    machine: Machine = REAL_MACHINE,
  ) {
    this.#machine = machine;
    this.#transport = transport;
    this.#handshake = handshake;
    this.#limits = limits;
  }

  get open_count(): number {
    return this.#open_count;
  }

  /**
   * Sends a request and answers its reply, payloads opaque. Throws UnreachableError, or the PythonError of a
   * peer whose handler failed.
   */
  request(address: string, message: WireMap, timeout_ms: number | null = null): Promise<WireValue> {
    return this.use(address, (channel) => ask(channel, message), timeout_ms);
  }

  /**
   * Lends a connection to `address` to `work`, which must leave it between two requests. After `timeout_ms` the
   * connection is dropped, and with it the work; connecting takes no longer than that either.
   */
  async use<T>(
    address: string,
    work: (channel: Channel) => Promise<T>,
    timeout_ms: number | null = null,
  ): Promise<T> {
    const channel = await this.#take(address, Math.min(this.#limits.connect_ms, timeout_ms ?? Infinity));
    const timer =
      timeout_ms === null
        ? null
        : this.#machine.after(timeout_ms, () => channel.destroy(`no answer within ${timeout_ms} ms`));
    let reusable = false;
    try {
      const result = await work(channel);
      reusable = true;
      return result;
    } catch (error) {
      // The peer answered in full, with an error: the connection stands between two requests.
      reusable = error instanceof PythonError;
      if (error instanceof ChannelClosedError) throw new UnreachableError(`${address}: ${error.message}`);
      throw error;
    } finally {
      this.#machine.cancel(timer);
      this.#giveBack(address, channel, reusable);
    }
  }

  /** Drops every connection to a peer that is gone: requests that wait for it fail at once. */
  forget(address: string): void {
    for (const attempt of this.#connecting) if (attempt.address === address) giveUp(attempt);
    for (const idle of this.#idle.get(address) ?? []) idle.channel.destroy("the peer was removed");
    for (const channel of this.#busy.get(address) ?? []) channel.destroy("the peer was removed");
  }

  close(): void {
    this.#closed = true;
    for (const attempt of this.#connecting) giveUp(attempt);
    for (const address of [...this.#idle.keys(), ...this.#busy.keys()]) this.forget(address);
    for (const proceed of this.#waiting.splice(0)) proceed();
  }

  async #take(address: string, connect_ms: number): Promise<Channel> {
    const idle = this.#takeIdle(address);
    if (idle !== null) return idle;
    while (this.#open_count >= this.#limits.connections_max && !this.#closed) {
      if (!this.#closeOneIdle()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
      const freed = this.#takeIdle(address);
      if (freed !== null) return freed;
    }
    if (this.#closed) throw new UnreachableError(`${address}: the server is closing`);
    this.#open_count++;
    try {
      const channel = new Channel(await this.#connect(address, connect_ms), this.#machine);
      this.#lend(address, channel);
      return channel;
    } catch (error) {
      this.#release();
      throw new UnreachableError(`${address}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  async #connect(address: string, connect_ms: number): Promise<Connection> {
    const deadline_ms = this.#machine.now_ms() + connect_ms;
    const attempt = { address, removed: false, wake: () => undefined };
    this.#connecting.add(attempt);
    try {
      const connection = await this.#connectUntil(attempt, deadline_ms, connect_ms);
      return await this.#shakeHands(connection, deadline_ms);
    } finally {
      this.#connecting.delete(attempt);
    }
  }

  async #connectUntil(attempt: Attempt, deadline_ms: number, connect_ms: number): Promise<Connection> {
    const { address } = attempt;
    let pause_ms = CONNECT_PAUSE_MS.first;
    for (let left_ms = connect_ms; ; left_ms = deadline_ms - this.#machine.now_ms()) {
      try {
        return await within(
          this.#transport.connect(address),
          Math.max(1, left_ms),
          "no answer",
          (late) => late.destroy("connected too late"),
          this.#machine,
        );
      } catch (error) {
        if (!isPassing(error)) throw error;
        const after_ms = deadline_ms - this.#machine.now_ms();
        // Dask's words, which its users know and look for.
        if (after_ms <= 0)
          throw new Error(
            `Timed out trying to connect to ${address} after ${connect_ms / 1000} s: ${error.message}`,
          );
        await this.#pause(attempt, Math.min(pause_ms, after_ms));
        if (attempt.removed) throw new Error("the peer was removed");
        pause_ms = Math.min(2 * pause_ms, CONNECT_PAUSE_MS.most);
      }
    }
  }

  /** Ends early when the attempt is given up. */
  #pause(attempt: Attempt, pause_ms: number): Promise<void> {
    if (attempt.removed) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.#machine.after(pause_ms, resolve);
      attempt.wake = () => {
        this.#machine.cancel(timer);
        resolve();
      };
    });
  }

  async #shakeHands(connection: Connection, deadline_ms: number): Promise<Connection> {
    const remaining_ms = Math.max(1, deadline_ms - this.#machine.now_ms());
    try {
      return await within(
        this.#handshake(connection),
        remaining_ms,
        "no handshake in time",
        () => undefined,
        this.#machine,
      );
    } catch (error) {
      connection.destroy("the handshake failed");
      throw error;
    }
  }

  #lend(address: string, channel: Channel): void {
    const busy = this.#busy.get(address);
    if (busy === undefined) this.#busy.set(address, new Set([channel]));
    else busy.add(channel);
  }

  #takeIdle(address: string): Channel | null {
    const list = this.#idle.get(address);
    for (let idle = list?.pop(); idle !== undefined; idle = list?.pop()) {
      this.#machine.cancel(idle.timer);
      idle.channel.watch(null);
      if (list?.length === 0) this.#idle.delete(address);
      if (idle.channel.closed === null && idle.channel.unread === 0) {
        this.#lend(address, idle.channel);
        return idle.channel;
      }
      idle.channel.destroy("not between two requests");
      this.#release();
    }
    return null;
  }

  #giveBack(address: string, channel: Channel, reusable: boolean): void {
    const busy = this.#busy.get(address);
    busy?.delete(channel);
    if (busy?.size === 0) this.#busy.delete(address);
    if (!reusable || this.#closed || channel.closed !== null || channel.unread > 0) {
      channel.destroy("no longer needed");
      this.#release();
      return;
    }
    const timer = this.#machine.after(this.#limits.idle_ms, () => channel.destroy("idle"));
    timer.unref();
    const idle = { channel, timer };
    const list = this.#idle.get(address);
    if (list === undefined) this.#idle.set(address, [idle]);
    else list.push(idle);
    channel.watch(() => this.#idleEnded(address, idle));
    this.#waiting.shift()?.();
  }

  #idleEnded(address: string, idle: Idle): void {
    this.#machine.cancel(idle.timer);
    const list = this.#idle.get(address);
    const at = list?.indexOf(idle) ?? -1;
    if (list === undefined || at < 0) return;
    list.splice(at, 1);
    if (list.length === 0) this.#idle.delete(address);
    this.#release();
  }

  /** Makes room by ending the connection that has been idle for longest to some peer. False: all are in use. */
  #closeOneIdle(): boolean {
    for (const [address, list] of this.#idle) {
      const idle = list[0];
      if (idle === undefined) continue;
      // Its place is free from here on; the connection's own end comes later, and counts no second time.
      idle.channel.watch(null);
      this.#idleEnded(address, idle);
      idle.channel.destroy("its place is needed");
      return true;
    }
    return false;
  }

  #release(): void {
    this.#open_count--;
    this.#waiting.shift()?.();
  }
}

function giveUp(attempt: Attempt): void {
  attempt.removed = true;
  attempt.wake();
}

function isPassing(error: unknown): error is Error {
  if (error instanceof UnreachableError) return true;
  return error instanceof Error && "code" in error && PASSING.has(String(error.code));
}

/** One request and its reply on a connection of its own. */
export async function ask(channel: Channel, message: WireMap): Promise<WireValue> {
  channel.write(message);
  const reply = await channel.read();
  if (reply === null) throw new ChannelClosedError(channel.closed ?? "the connection ended");
  const value = decodeMessage(reply);
  if (value instanceof WireMap && value.get("status") === "uncaught-error") {
    throw new RemoteError(value);
  }
  return value;
}

/** `promise`, or an error after `limit_ms`; what it still gives then goes to `dispose`. */
async function within<T>(
  promise: Promise<T>,
  limit_ms: number,
  text: string,
  dispose: (late: T) => void,
  machine: Machine,
): Promise<T> {
  let timer: Timer | null = null;
  let late = false;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = machine.after(limit_ms, () => {
      late = true;
      reject(new UnreachableError(text));
    });
  });
  const guarded = promise.then((value) => {
    if (late) dispose(value);
    return value;
  });
  // After the timeout nobody awaits it: its error must not count as unhandled.
  guarded.catch(() => undefined);
  try {
    return await Promise.race([guarded, timeout]);
  } finally {
    machine.cancel(timer);
  }
}
