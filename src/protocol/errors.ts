/** What a peer did wrong, for logs, counters and tests. */
export type ProtocolErrorCode =
  | "TRUNCATED"
  | "TRAILING_BYTES"
  | "BAD_TYPE_BYTE"
  | "BAD_UTF8"
  | "TOO_DEEP"
  | "TOO_MANY_VALUES"
  | "TOO_MANY_FRAMES"
  | "NO_FRAMES"
  | "MESSAGE_TOO_LARGE"
  | "BAD_FRAME_REFERENCE"
  | "BAD_SUB_HEADER"
  | "BAD_HANDSHAKE"
  | "BAD_KEY"
  | "BAD_MESSAGE";

/**
 * The peer's fault: its bytes or fields are not Dask's protocol, or break a limit. Costs that connection, never
 * the process. Upper layers may use codes of their own.
 */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
  readonly code: string;

  constructor(code: ProtocolErrorCode | (string & {}), message: string) {
    super(message);
    this.code = code;
  }
}
