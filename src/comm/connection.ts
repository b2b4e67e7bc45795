import type { FramedMessage } from "../protocol/frames.ts";

/** A stream of whole messages to and from one peer. Errors of any kind end as one call of onClose. */
export interface Connection {
  /** Addresses such as tcp://127.0.0.1:1234. */
  readonly peer: string;
  readonly local: string;
  /** Accepted by write(), not yet taken by the transport: what the owner bounds for a peer that does not read. */
  readonly pending_bytes: number;
  /**
   * A write that leaves more pending than this destroys the connection: a comparison a write, so that memory is bounded
   * without a timer and whoever does the writing. Infinity: no bound. To be set by the owner.
   */
  pending_bytes_max: number;
  /**
   * Called for each message, within the callback that read it. Set by the owner; messages before it is set (or
   * while it is {@link waitForOwner}) wait. A ProtocolError that it throws destroys the connection.
   */
  onMessage: (message: FramedMessage) => void;
  /**
   * Called once, whatever ended the connection, and never from within write(), close() or destroy(). An end that
   * comes before it is set (or while it is {@link waitForOwnerToClose}) is told as soon as it is set.
   */
  onClose: (reason: string) => void;
  /** pending_bytes fell to 0 after a write that the transport did not take at once. */
  onDrain: () => void;
  /**
   * Whole framed messages. Ignored once the connection has ended. The chunks must not be changed until pending_bytes is
   * 0, which it may be when this returns: then the transport has no use for them any more.
   */
  write(chunks: readonly Uint8Array[]): void;
  /**
   * Stops reading: not even messages that have already arrived are handed out until resume(). If the peer closes
   * meanwhile, onClose waits for messages that wait, too.
   */
  pause(): void;
  /** Goes on; messages that waited are handed out soon, not before resume() returns. */
  resume(): void;
  /** Ends the connection after what is pending is written; nothing is read any more. */
  close(): void;
  /** Ends the connection at once; `reason` is what onClose tells. */
  destroy(reason: string): void;
}

/** A place where peers connect. */
export interface Listener {
  /** The address with the port that was really taken. */
  readonly address: string;
  /** No connection is accepted from here on; those that exist stay. */
  close(): Promise<void>;
}

/** A way to reach peers; addresses name it by their scheme. */
export interface Transport {
  /** Rejects if the address is bad or taken. */
  listen(address: string, onConnection: (connection: Connection) => void): Promise<Listener>;
  /** Rejects if nobody answers. */
  connect(address: string): Promise<Connection>;
}

/** The value of onMessage that means "no owner yet": messages wait. */
export function waitForOwner(_message: FramedMessage): void {}

/** The value of onClose that means "no owner yet": the end waits. */
export function waitForOwnerToClose(_reason: string): void {}
