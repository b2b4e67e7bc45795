import { WireMap, type WireValue } from "../../protocol/values.ts";

/**
 * The three wire dialects that the server speaks, named after the release in which each was read and recorded.
 * Messages to a peer follow the dialect that it registered with.
 */
export type Release = "2022.12" | "2024.12" | "2026.8";

/**
 * The dialect of a peer, from `versions.packages.distributed` of its registration. Releases between the three
 * speak the older of their neighbours. Without a version, the fields that only 2022's register-worker has decide.
 */
export function releaseOf(versions: WireValue | undefined, registration?: WireMap): Release {
  const version = distributedVersion(versions);
  const match = version === null ? null : /^(\d{4})\.(\d{1,2})/.exec(version);
  if (match === null) {
    const is2022 = registration?.get("types") !== undefined && registration.get("nbytes") !== undefined;
    return is2022 ? "2022.12" : "2026.8";
  }
  const month = Number(match[1]) * 12 + Number(match[2]) - 1;
  if (month < 2023 * 12) return "2022.12";
  return month < 2026 * 12 ? "2024.12" : "2026.8";
}

/** `versions.packages.distributed` as the peer wrote it, null where it is not there. */
export function distributedVersion(versions: WireValue | undefined): string | null {
  if (!(versions instanceof WireMap)) return null;
  const packages = versions.get("packages");
  if (!(packages instanceof WireMap)) return null;
  const version = packages.get("distributed");
  return typeof version === "string" ? version : null;
}
