import { expect, test } from "vitest";
import { BufferPool } from "../../src/protocol/buffer-pool.ts";

test("gives a buffer again that it was given back, and never one that is too small", () => {
  const pool = new BufferPool(1 << 24);
  const first = pool.take(300_000);
  expect(first.length).toBeGreaterThanOrEqual(300_000);
  expect(pool.take(300_000) === first).toBe(false);
  pool.give(first);
  expect(pool.take(first.length + 1) === first).toBe(false);
  expect(pool.take(first.length / 2) === first).toBe(false);
  expect(pool.take(first.length / 2 + 1) === first).toBe(true);
});

test("keeps no more than it may, and neither small ones nor any larger than all that it may keep", () => {
  const pool = new BufferPool(1 << 20);
  for (const bytes of [100, 30_000, 1 << 23]) pool.give(pool.take(bytes));
  expect(pool.kept_bytes).toBe(0);
  const all = Array.from({ length: 20 }, () => pool.take(1 << 17));
  for (const buffer of all) pool.give(buffer);
  expect(pool.kept_bytes).toBe(1 << 20);
});

test("keeps large ones by their own size, the newest of them, until it is trimmed", () => {
  const MIB = 1 << 20;
  const pool = new BufferPool(64 * MIB);
  const first = pool.take(20 * MIB - 5);
  expect(first.length).toBe(20 * MIB);
  pool.give(first);
  expect(pool.take(21 * MIB) === first).toBe(false);
  expect(pool.take(10 * MIB) === first).toBe(false);
  expect(pool.take(10 * MIB + 1) === first).toBe(true);
  pool.give(first);
  const second = pool.take(40 * MIB);
  pool.give(second);
  expect(pool.kept_bytes).toBe(60 * MIB);
  pool.give(Buffer.allocUnsafeSlow(8 * MIB));
  expect(pool.kept_bytes).toBe(48 * MIB);
  expect(pool.take(40 * MIB) === second).toBe(true);
  pool.give(second);
  const small = pool.take(1 << 17);
  pool.give(small);
  pool.trim();
  expect(pool.kept_bytes).toBe(1 << 17);
  expect(pool.take(1 << 17) === small).toBe(true);
  expect(pool.take(40 * MIB) === second).toBe(false);
});
