import { describe, expect, test } from "vitest";
import { InvariantError } from "../../src/base/assert.ts";
import { STATE_NAMES, TRANSITIONS } from "../../src/core/states.ts";
import { story, validate } from "../../src/core/validate.ts";
import { readText } from "../tidy/sources.ts";
import { World } from "./world.ts";

describe("the states", () => {
  test("have the edges that docs/state-machine.md draws, and no others (S17)", () => {
    const drawn = [...readText("docs/state-machine.md").matchAll(/^\s*(\w+) --> (\w+)/gm)]
      .map((match) => `${match[1]} ${match[2]}`.replaceAll("no_worker", "no-worker"))
      .sort();
    const listed = Object.entries(TRANSITIONS).flatMap(([from, to]) => to.map((name) => `${from} ${name}`));
    expect(drawn).toEqual(listed.sort());
  });

  test("are written in a table of the document for each edge", () => {
    const rows = [...readText("docs/state-machine.md").matchAll(/^\| `([\w-]+)` → `([\w-]+)` \|/gm)];
    const listed = Object.entries(TRANSITIONS).flatMap(([from, to]) => to.map((name) => `${from} ${name}`));
    expect(rows.map((row) => `${row[1]} ${row[2]}`).sort()).toEqual(listed.sort());
  });

  test("refuse every edge that is not listed, and name the task", () => {
    const world = new World();
    world.join(0);
    world.submit({ a: [] });
    const { books } = world.scheduler;
    const task = world.task("a");
    for (const [from, name] of STATE_NAMES.entries())
      for (const [to, target] of STATE_NAMES.entries()) {
        if (TRANSITIONS[name].includes(target)) continue;
        books.tasks.state[task] = from;
        expect(() => books.setState(task, to)).toThrow(`task ${task}: ${name} -> ${target} is not an edge`);
      }
  });
});

describe("validate", () => {
  /** A world in which every table has something in it. */
  function busy(): World {
    const world = new World({ prompt: false });
    world.join(0, { threads: 2, resources: { GPU: 1 } });
    world.submit({ a: [], b: ["a"], c: ["a", "b"] }, { wanted: ["a", "c"] });
    world.worker(0).receive();
    world.finish("a");
    world.submit({ e: [] });
    for (let i = 0; i < 4; i++) world.worker(0).receive();
    world.err("e");
    world.submit({ far: [] }, { restrictions: { far: { workers: new Set(["mars"]) } } });
    world.join(1);
    return world;
  }

  test("is content with a world in order", () => {
    expect(() => validate(busy().scheduler)).not.toThrow();
  });

  const breaches: Record<string, (world: World) => void> = {
    "a wrong count of waiters": (world) => world.scheduler.books.tasks.waiters[world.task("a")]!++,
    "a wrong count of what is waited for": (world) =>
      world.scheduler.books.tasks.waiting_on[world.task("c")]!++,
    "a state that contradicts the books": (world) => {
      world.scheduler.books.tasks.state[world.task("a")] = 0;
    },
    "a worker's bytes": (world) => {
      world.worker(0).book.nbytes += 1;
    },
    "a worker's count of tasks": (world) => {
      world.worker(0).book.processing += 1;
    },
    "a worker's steals": (world) => {
      world.worker(0).book.steals_in += 1;
    },
    "an unrunnable task that is not listed": (world) => world.scheduler.books.unrunnable.clear(),
    "an erred task without its error": (world) => world.scheduler.books.errors.clear(),
    "a replica too many": (world) => {
      const { books } = world.scheduler;
      books.replicas.add(world.task("b"), world.worker(1).book.id);
    },
    "a want that is lost": (world) => {
      const { wants } = world.scheduler.books;
      wants.remove(wants.first_of_task[world.task("c")]!);
    },
    "a need too many": (world) => {
      world.scheduler.books.needs.add(world.task("a"), world.worker(1).book.id);
    },
    "a stopped worker that counts as running": (world) => {
      world.worker(1).book.status = "paused";
    },
    "a task in the queue that is not queued": (world) => world.scheduler.moves.queue.insert(world.task("b")),
    "a task left unsettled": (world) => world.scheduler.moves.mayBeUnneeded(world.task("b")),
    "a key that is out of the table": (world) => world.scheduler.books.keys.unlink(world.task("b")),
    "restrictions without their flag": (world) => {
      world.scheduler.books.restrictions.delete(world.task("far"));
    },
    "a run_id that does not grow": (world) => {
      const { run_id } = world.scheduler.books.tasks;
      world.submit({ y: [], z: [] });
      for (const key of ["b", "y", "z"]) run_id[world.task(key)] = 1;
    },
    "a worker id that is live and free": (world) => world.scheduler.books.free_workers.push(0),
    "resources that nobody uses": (world) => world.worker(0).book.used_resources.set("GPU", 1),
    "a steal of a task that its victim does not have": (world) => {
      const [victim, thief] = [world.worker(1).book, world.worker(0).book];
      world.scheduler.books.steals.set(world.task("b"), { id: 1, victim, thief });
    },
    "a forgotten id that is not free": (world) => world.scheduler.books.tasks.create(),
  };

  test.each(Object.entries(breaches))("finds %s", (_, damage) => {
    const world = busy();
    damage(world);
    expect(() => validate(world.scheduler)).toThrow(InvariantError);
  });

  test("tells the task's story", () => {
    const world = busy();
    expect(story(world.scheduler.books, world.task("c"))).toMatch(
      /^task \d+ waiting; .*waiting_on 1; .*dependencies \[\d+ memory, \d+ processing\]/,
    );
  });
});
