/** How connections end when nobody did anything wrong, in the words of comm and of the system. */
const ORDINARY_ENDS: readonly string[] = [
  "closed by the peer",
  "closed here",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
];

/** False: the peer's bytes or its slowness ended the connection, which deserves a warning. */
export function isOrdinaryEnd(reason: string): boolean {
  return ORDINARY_ENDS.includes(reason);
}
