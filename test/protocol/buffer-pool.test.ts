import { expect, test } from "vitest";
import { BufferPool } from "../../src/protocol/buffer-pool.ts";

test("gives a buffer again that it was given back, and never one that is too small", () => {
  const pool = new BufferPool(1 << 24);
  const first = pool.take(300_000);
  expect(first.length).toBeGreaterThanOrEqual(300_000);
  expect(pool.take(300_000)).not.toBe(first);
  pool.give(first);
  expect(pool.take(first.length + 1)).not.toBe(first);
  expect(pool.take(first.length / 2)).not.toBe(first);
  expect(pool.take(first.length / 2 + 1)).toBe(first);
});

test("keeps no more than it may, and neither small nor huge ones", () => {
  const pool = new BufferPool(1 << 20);
  for (const bytes of [100, 30_000, 1 << 23]) pool.give(pool.take(bytes));
  expect(pool.kept_bytes).toBe(0);
  const all = Array.from({ length: 20 }, () => pool.take(1 << 17));
  for (const buffer of all) pool.give(buffer);
  expect(pool.kept_bytes).toBe(1 << 20);
});
