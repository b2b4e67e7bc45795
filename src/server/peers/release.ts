import { WireMap, type WireValue } from "../../protocol/values.ts";

/**
 * The three wire dialects that the server speaks, named after the release in which each was read and recorded.
 * Messages to a peer follow the dialect that it registered with.
 */
export type Release = "2022.12" | "2024.12" | "2026.8";

/**
 * The dialect of a peer, from `versions.packages.distributed` of its registration: the one with whose fields its release
 * gets along. Without a version, the fields that only 2022's register-worker has decide.
 */
export function releaseOf(
  role: "client" | "worker",
  versions: WireValue | undefined,
  registration?: WireMap,
): Release {
  const number = releaseNumber(versions);
  if (number === null) {
    const is2022 = registration?.get("types") !== undefined && registration.get("nbytes") !== undefined;
    return is2022 ? "2022.12" : "2026.8";
  }
  if (number < UNSUPPORTED_FROM) return "2022.12";
  return number < (role === "worker" ? 2025_02_00 : 2025_04_00) ? "2024.12" : "2026.8";
}

// In these months compute-task and the form of graphs changed five times: no dialect fits.
const UNSUPPORTED_FROM = 2023_01_01;
const SUPPORTED_AGAIN_FROM = 2023_08_01;

/** What a peer is told whose release no dialect fits; null: one does. */
export function unsupportedRelease(versions: WireValue | undefined): string | null {
  const number = releaseNumber(versions);
  if (number === null || number < UNSUPPORTED_FROM || number >= SUPPORTED_AGAIN_FROM) return null;
  return `distributed ${distributedVersion(versions)} is not supported: use 2022.12.1, or 2023.8.1 or later`;
}

/** Whether the peer's release is older than the first one of that month; one that is not known is not. */
export function isBefore(versions: WireValue | undefined, year: number, month: number): boolean {
  const number = releaseNumber(versions);
  return number !== null && number < (year * 100 + month) * 100;
}

/** Year, month and patch as digits of one number; null: there is no version to read. */
function releaseNumber(versions: WireValue | undefined): number | null {
  const match = /^(\d{4})\.(\d{1,2})\.(\d{1,2})/.exec(distributedVersion(versions) ?? "");
  if (match === null) return null;
  const [year = 0, month = 0, patch = 0] = match.slice(1).map(Number);
  return (year * 100 + month) * 100 + patch;
}

/** `versions.packages.distributed` as the peer wrote it, null where it is not there. */
export function distributedVersion(versions: WireValue | undefined): string | null {
  if (!(versions instanceof WireMap)) return null;
  const packages = versions.get("packages");
  if (!(packages instanceof WireMap)) return null;
  const version = packages.get("distributed");
  return typeof version === "string" ? version : null;
}
