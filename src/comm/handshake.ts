import type { Machine } from "../base/machine.ts";
import { ProtocolError } from "../protocol/errors.ts";
import { type FramedMessage, type FrameLimits, frameMessage } from "../protocol/frames.ts";
import { type Handshake, handshake, parseHandshake } from "../protocol/handshake.ts";
import { decodeMessage, encodeMessage } from "../protocol/message.ts";
import { REAL_MACHINE } from "../trace/machine.ts";
import { type Connection, waitForOwner, waitForOwnerToClose } from "./connection.ts";

/** Bounds of a peer's first message. A real handshake is one frame of less than 100 bytes. */
export const HANDSHAKE_FRAME_LIMITS: FrameLimits = { frame_count_max: 16, message_bytes_max: 16 * 1024 };

export interface HandshakeLimits {
  /** How long a peer may take to send its handshake, ms. */
  readonly handshake_ms: number;
}

const HANDSHAKE_LIMITS: HandshakeLimits = { handshake_ms: 30_000 };

/**
 * The handshake as the side that was connected to. Resolves with the same connection, whose messages then wait for
 * an owner; rejects with ProtocolError (and has destroyed the connection) for a peer that does not shake hands.
 */
export function handshakeAsListener(
  connection: Connection,
  limits: HandshakeLimits = HANDSHAKE_LIMITS,
  machine: Machine = REAL_MACHINE,
): Promise<Connection> {
  return shakeHands(connection, limits, machine);
}

/**
 * The handshake as the side that connected. Older releases write as listener first and as connector after reading;
 * newer ones write at once on both sides. Writing at once suits all of them, so both sides do the same.
 */
export function handshakeAsConnector(
  connection: Connection,
  limits: HandshakeLimits = HANDSHAKE_LIMITS,
  machine: Machine = REAL_MACHINE,
): Promise<Connection> {
  return shakeHands(connection, limits, machine);
}

/** The connection ended before the peer had said who it is; whose fault that is, `reason` tells. */
export class HandshakeCutShort extends ProtocolError {
  /** In the words of {@link Connection.onClose}. */
  readonly reason: string;

  constructor(peer: string, reason: string) {
    super("BAD_HANDSHAKE", `${peer}: ${reason}`);
    this.reason = reason;
  }
}

function shakeHands(connection: Connection, limits: HandshakeLimits, machine: Machine): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const timer = machine.after(limits.handshake_ms, () =>
      connection.destroy(`no handshake within ${limits.handshake_ms} ms`),
    );
    connection.onClose = (reason) => {
      machine.cancel(timer);
      reject(new HandshakeCutShort(connection.peer, reason));
    };
    connection.onMessage = (message) => {
      machine.cancel(timer);
      readHandshake(message);
      connection.onMessage = waitForOwner;
      connection.onClose = waitForOwnerToClose;
      resolve(connection);
    };
    connection.write(frameMessage(encodeMessage(handshake())));
  });
}

/** Throws ProtocolError, which ends the connection. Nothing that a peer tells changes what we do: no codecs here. */
function readHandshake(message: FramedMessage): Handshake {
  return parseHandshake(decodeMessage(message));
}
