import { expect, test } from "vitest";
import { WireMap } from "../../../src/protocol/values.ts";
import { releaseOf, unsupportedRelease } from "../../../src/server/peers/release.ts";

const versions = (distributed: string): WireMap => WireMap.of({ packages: WireMap.of({ distributed }) });

test.each([
  ["2022.12.1", "2022.12", "2022.12"],
  ["2023.1.0", "2022.12", "2022.12"],
  ["2023.8.1", "2024.12", "2024.12"],
  ["2024.12.1", "2024.12", "2024.12"],
  ["2025.1.0", "2024.12", "2024.12"],
  // compute-task lost its duration before clients got adjust-heartbeat-interval.
  ["2025.2.0", "2026.8", "2024.12"],
  ["2025.3.1+12.gabcdef", "2026.8", "2024.12"],
  ["2025.4.0", "2026.8", "2026.8"],
  ["2026.10.3", "2026.8", "2026.8"],
])("distributed %s: workers are spoken to as %s, clients as %s", (version, worker, client) => {
  expect(releaseOf("worker", versions(version))).toBe(worker);
  expect(releaseOf("client", versions(version))).toBe(client);
  expect(unsupportedRelease(versions(version))).toBeNull();
});

test.each(["2023.1.1", "2023.5.0", "2023.8.0"])(
  "distributed %s is refused, with what to use instead",
  (version) => {
    expect(unsupportedRelease(versions(version))).toBe(
      `distributed ${version} is not supported: use 2022.12.1, or 2023.8.1 or later`,
    );
  },
);

test("a peer without a version is told by the fields that only 2022 had", () => {
  const of2022 = WireMap.of({ types: new WireMap(), nbytes: new WireMap() });
  expect(releaseOf("worker", null, of2022)).toBe("2022.12");
  expect(releaseOf("worker", null, new WireMap())).toBe("2026.8");
  expect(unsupportedRelease(null)).toBeNull();
});
