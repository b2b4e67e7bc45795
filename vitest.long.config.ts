import { defineConfig } from "vitest/config";

/** `npm run suite`: what takes too long for every change. */
export default defineConfig({
  test: {
    include: ["test/long/**/*.test.ts"],
    testTimeout: 1_200_000,
    hookTimeout: 300_000,
    // They measure, or keep real processes busy: one at a time.
    maxWorkers: 1,
    fileParallelism: false,
  },
});
