import type { Machine } from "../../base/machine.ts";
import type { Connection } from "../../comm/connection.ts";
import { type FramedMessage, frameMessage } from "../../protocol/frames.ts";
import { encodeMessage } from "../../protocol/message.ts";
import type { WireValue } from "../../protocol/values.ts";
import { REAL_MACHINE } from "../../trace/machine.ts";

/** The other side is gone, or never was there. */
export class ChannelClosedError extends Error {
  override readonly name = "ChannelClosedError";
}

/**
 * A connection as a sequence of messages that are awaited one by one: the form of RPC, on both of its ends.
 * While nobody waits, the connection is paused, so that at most what was read in one go is kept.
 */
export class Channel {
  readonly connection: Connection;
  /** Whose time passes while somebody waits here. */
  readonly machine: Machine;
  #closed: string | null = null;
  #waiting: FramedMessage[] = [];
  #reader: ((message: FramedMessage | null) => void) | null = null;
  #drained: (() => void) | null = null;
  #on_end: (() => void) | null = null;

  constructor(connection: Connection, machine: Machine = REAL_MACHINE) {
    this.machine = machine;
    this.connection = connection;
    connection.onMessage = (message) => this.#accept(message);
    connection.onClose = (reason) => this.#end(reason);
    connection.onDrain = () => this.#wake();
  }

  /** Why the connection ended; null while it is open. */
  get closed(): string | null {
    return this.#closed;
  }

  /** Messages that arrived and were not read. */
  get unread(): number {
    return this.#waiting.length;
  }

  /** The next message; null once the connection has ended. One reader at a time. */
  read(): Promise<FramedMessage | null> {
    const message = this.#waiting.shift();
    if (message !== undefined) return Promise.resolve(message);
    if (this.#closed !== null) return Promise.resolve(null);
    return new Promise((resolve) => {
      this.#reader = resolve;
      this.connection.resume();
    });
  }

  /** Waits for the next message and leaves it to be read; false once the connection has ended. */
  async peek(): Promise<boolean> {
    const message = await this.read();
    if (message === null) return false;
    this.#waiting.unshift(message);
    return true;
  }

  /** Dropped where the connection has ended: the next read tells. */
  write(value: WireValue): void {
    if (this.#closed === null) this.connection.write(frameMessage(encodeMessage(value)));
  }

  /** Resolves once the peer has taken all but `pending_bytes_max` bytes, and false after `stall_ms` without that. */
  async drained(pending_bytes_max: number, stall_ms: number): Promise<boolean> {
    if (this.connection.pending_bytes <= pending_bytes_max || this.#closed !== null) return true;
    return new Promise((resolve) => {
      const timer = this.machine.after(stall_ms, () => {
        this.#drained = null;
        resolve(false);
      });
      this.#drained = () => {
        this.machine.cancel(timer);
        resolve(true);
      };
    });
  }

  /** Calls `onEnd` once when the connection ends while nobody reads; null: no longer. Reads on, to notice it. */
  watch(onEnd: (() => void) | null): void {
    this.#on_end = onEnd;
    if (onEnd !== null) this.connection.resume();
  }

  close(): void {
    this.connection.close();
  }

  destroy(reason: string): void {
    this.connection.destroy(reason);
  }

  /**
   * Ends this view of the connection: the next owner gets what was not read, then every later message.
   * The caller sets `onClose` itself, before or after.
   */
  handOver(onMessage: (message: FramedMessage) => void): void {
    const unread = this.#waiting;
    this.#waiting = [];
    for (const message of unread) onMessage(message);
    this.connection.onMessage = onMessage;
    this.connection.onDrain = () => undefined;
    this.connection.resume();
  }

  #accept(message: FramedMessage): void {
    const owned = message.own();
    const reader = this.#reader;
    if (reader === null) {
      this.#waiting.push(owned);
      this.connection.pause();
      return;
    }
    this.#reader = null;
    // The reader runs in a later microtask: until it asks again, nothing more is read from the socket.
    this.connection.pause();
    reader(owned);
  }

  #end(reason: string): void {
    this.#closed = reason;
    const onEnd = this.#on_end;
    this.#on_end = null;
    onEnd?.();
    const reader = this.#reader;
    this.#reader = null;
    reader?.(null);
    this.#wake();
  }

  #wake(): void {
    const drained = this.#drained;
    this.#drained = null;
    drained?.();
  }
}
