import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // `npm run suite` has those.
    exclude: ["test/long/**"],
    // Not how long a test may take: how long a hung one is waited for on a machine that has other work.
    testTimeout: 240_000,
    hookTimeout: 240_000,
    // Real processes and timing-sensitive sockets share two cores with the rest: no more than two files at once.
    maxWorkers: 2,
  },
});
