import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // `npm run suite` has those.
    exclude: ["test/long/**"],
    // Not how long a test may take: how long a hung one is waited for on a machine that has other work.
    testTimeout: 240_000,
    hookTimeout: 240_000,
    // A second of CPU for each scheduler and zero run that a test starts; those that are about it switch it on.
    env: { RSDS_TRAINING: "off" },
    // Real processes and timing-sensitive sockets share two cores with the rest: no more than two files at once.
    maxWorkers: 2,
  },
});
