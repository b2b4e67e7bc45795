import { describe, expect, test } from "vitest";
import { growingPercent } from "../../src/cli/heap-headroom.ts";

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

describe("the growth of a heap", () => {
  test("is fivefold while that is little memory, and V8's own choice for a large heap", () => {
    const percents = [1, 20, 64, 128, 512, 1280, 1281, 5000].map((mib) => growingPercent(mib * MIB, 4 * GIB));
    expect(percents).toEqual([400, 400, 400, 200, 50, 20, 0, 0]);
  });

  test("leaves room where the process has little memory in all", () => {
    expect(growingPercent(100 * MIB, 256 * MIB)).toBe(32);
    expect(growingPercent(200 * MIB, 256 * MIB)).toBe(0);
  });
});
