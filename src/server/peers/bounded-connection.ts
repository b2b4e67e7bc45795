import type { Connection } from "../../comm/connection.ts";
import type { FramedMessage } from "../../protocol/frames.ts";

/**
 * A connection that ends itself when its peer does not read: `write` looks at what is pending, which costs a
 * comparison a batch, so that memory is bounded without a timer and whoever does the writing.
 */
export class BoundedConnection implements Connection {
  readonly #inner: Connection;
  readonly #pending_bytes_max: number;

  constructor(inner: Connection, pending_bytes_max: number) {
    this.#inner = inner;
    this.#pending_bytes_max = pending_bytes_max;
  }

  get peer(): string {
    return this.#inner.peer;
  }

  get local(): string {
    return this.#inner.local;
  }

  get pending_bytes(): number {
    return this.#inner.pending_bytes;
  }

  get onMessage(): (message: FramedMessage) => void {
    return this.#inner.onMessage;
  }

  set onMessage(handler: (message: FramedMessage) => void) {
    this.#inner.onMessage = handler;
  }

  get onClose(): (reason: string) => void {
    return this.#inner.onClose;
  }

  set onClose(handler: (reason: string) => void) {
    this.#inner.onClose = handler;
  }

  get onDrain(): () => void {
    return this.#inner.onDrain;
  }

  set onDrain(handler: () => void) {
    this.#inner.onDrain = handler;
  }

  write(chunks: readonly Uint8Array[]): void {
    this.#inner.write(chunks);
    const pending_bytes = this.#inner.pending_bytes;
    if (pending_bytes > this.#pending_bytes_max) {
      this.#inner.destroy(`does not read: ${pending_bytes} bytes are waiting for it`);
    }
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    this.#inner.resume();
  }

  close(): void {
    this.#inner.close();
  }

  destroy(reason: string): void {
    this.#inner.destroy(reason);
  }
}
