import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // `npm run suite` has those.
    exclude: ["test/long/**"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Real processes and timing-sensitive sockets share two cores with the rest: no more than two files at once.
    maxWorkers: 2,
  },
});
