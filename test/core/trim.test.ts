import { expect, test } from "vitest";
import { validate } from "../../src/core/validate.ts";
import { World } from "./world.ts";

const LEAVES = Array.from({ length: 600 }, (_, i) => `leaf-${i}`);

function round(world: World): void {
  world.batch(() => {
    world.submit({ ...Object.fromEntries(LEAVES.map((leaf) => [leaf, []])), sum: LEAVES });
  });
  for (let i = 0; i < 10 && world.stateOf("sum") !== "memory"; i++) world.batch(() => world.finishAll());
  expect(world.stateOf("sum")).toBe("memory");
}

test("tables are given back once the last task is gone, and fill again", () => {
  const world = new World();
  const { books } = world.scheduler;
  world.join(0);
  world.join(1);
  for (let i = 0; i < 2; i++) {
    round(world);
    expect(books.tasks.capacity).toBeGreaterThanOrEqual(600);
    // Something is still wanted.
    expect(books.trim(64)).toBe(false);
    expect(books.tasks.capacity).toBeGreaterThanOrEqual(600);
    world.release("sum");
    expect(books.trim(64)).toBe(true);
    expect(books.tasks.capacity).toBe(64);
    expect(books.tasks.state.length).toBe(64);
    expect(books.edges.first.length).toBe(64);
    expect(books.edges.dependency.length).toBe(128);
    expect(books.replicas.task.length).toBeLessThanOrEqual(256);
    expect(books.wants.first_of_task.length).toBe(64);
    validate(world.scheduler);
  }
});
