import { ProtocolError } from "./errors.ts";
import { WireMap, type WireValue } from "./values.ts";

/** The highest pickle protocol of every supported Python; both sides use the lower of theirs. */
const PICKLE_PROTOCOL = 5;

/** What a peer told in its handshake. */
export interface Handshake {
  /** The protocol that both sides pickle with. */
  readonly pickle_protocol: number;
  /** The peer's Python version, if it told a well-formed one; nothing depends on it. */
  readonly python: readonly number[] | null;
  /** The codec that the peer would compress with if we had named the same. */
  readonly compression: string | null;
}

/**
 * Our side of the handshake. Compression is nil, so nobody compresses towards us and no codec is needed; the
 * version of Python is what Dask's own peers would tell, and unused by them.
 */
export function handshake(): WireMap {
  return WireMap.of({ compression: null, python: [3, 11, 0], "pickle-protocol": PICKLE_PROTOCOL });
}

/** Checks a peer's handshake; throws ProtocolError. The keys that Dask itself insists on must be there. */
export function parseHandshake(value: WireValue): Handshake {
  if (!(value instanceof WireMap)) throw new ProtocolError("BAD_HANDSHAKE", "a handshake that is not a map");
  const pickle_protocol = value.get("pickle-protocol");
  if (typeof pickle_protocol !== "number" || !Number.isInteger(pickle_protocol) || pickle_protocol < 0) {
    throw new ProtocolError("BAD_HANDSHAKE", "a handshake without pickle-protocol");
  }
  const compression = value.get("compression");
  if (compression !== null && typeof compression !== "string") {
    throw new ProtocolError("BAD_HANDSHAKE", "a handshake without compression");
  }
  return {
    pickle_protocol: Math.min(pickle_protocol, PICKLE_PROTOCOL),
    python: numbers(value.get("python")),
    compression,
  };
}

function numbers(value: WireValue | undefined): readonly number[] | null {
  if (!Array.isArray(value)) return null;
  const out: number[] = [];
  for (const item of value) {
    if (typeof item !== "number") return null;
    out.push(item);
  }
  return out;
}
