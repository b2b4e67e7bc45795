import { describe, expect, test } from "vitest";
import { keyBytes } from "../../src/protocol/keys.ts";
import { keyNames } from "../../src/schedulers/key-names.ts";
import { TaskGroups } from "../../src/schedulers/task-groups.ts";
import { World } from "../core/world.ts";

const HASH = "ae05086432ca935f6eba409a8ecd4896";

describe("a key's names", () => {
  // What key_split_group and key_split of distributed 2026.8.0 answer.
  test.each([
    ["x", "x", "x"],
    ["x-1", "x", "x"],
    ["x-abcdefab", "x", "x"],
    ["inc-double-1", "inc-double", "inc-double"],
    [`inc-${HASH}`, "inc", "inc"],
    [HASH, "data", "data"],
    ["('x-2', 1)", "x-2", "x"],
    [["x-2", 1], "x-2", "x"],
    [[`sum-aggregate-${HASH}`, 0, 0], `sum-aggregate-${HASH}`, "sum-aggregate"],
    [7, "Other", "Other"],
  ])("%j is of group %s and prefix %s", (key, group, prefix) => {
    expect(keyNames(keyBytes(key))).toEqual({ group, prefix });
  });
});

describe("task groups", () => {
  const SETTINGS = { default_durations_s: new Map([["fast", 1e-6]]), unknown_duration_s: 0.5 };

  /** Tasks with these keys, in a world without workers. */
  function tasks(keys: readonly (string | readonly (string | number)[])[]): {
    world: World;
    groups: TaskGroups;
    ids: number[];
  } {
    const world = new World();
    const { books } = world.scheduler;
    const ids = keys.map((key) => {
      const bytes = keyBytes(key as string);
      return books.internKey(bytes);
    });
    return { world, groups: new TaskGroups(books, SETTINGS), ids };
  }

  test("are those of the keys' names, in whatever order keys come", () => {
    const keys = [
      ...[
        "inc-1",
        "inc-2",
        "inc-abc-1",
        "inc-abcdefab",
        "inc",
        "increase-1",
        "inc-3",
        "x",
        "x-1",
        "é-1",
        "é-2",
      ],
      ...[`inc-${HASH}`, HASH, HASH.replace("a", "b"), "data-1", "inc-abcdefgh-1", "inc-abc", "inc-4"],
      ...[
        "(1",
        "('inc-1', 2)",
        "('inc-1', 3)",
        "<a b>",
        "-a-1",
        "-a-2",
        "a".repeat(300),
        `${"a".repeat(300)}-1`,
      ],
    ];
    const mixed: (string | (string | number)[])[] = [];
    for (const [i, key] of keys.entries()) mixed.push(key, [keys[(i * 7) % keys.length]!, i], [key, i]);
    const { groups, ids } = tasks(mixed);
    for (const [i, key] of mixed.entries())
      expect(groups.of(ids[i]!).name, JSON.stringify(key)).toBe(keyNames(keyBytes(key as string)).group);
  });

  test("count their tasks until the last is forgotten", () => {
    const { groups, ids } = tasks(["x-1", "x-2", "x-3", "y-1"]);
    const [a, b, c, d] = ids as [number, number, number, number];
    expect([a, b, c, d].map((task) => groups.of(task).name)).toEqual(["x", "x", "x", "y"]);
    const x = groups.of(a);
    groups.forgotten(a);
    groups.forgotten(b);
    expect([x.size, x.live]).toEqual([3, 1]);
    groups.forgotten(c);
    expect(groups.kept).toEqual({ groups: 1, prefixes: 2 });
    expect(groups.of(a).size).toBe(1);
  });

  test("keep what tasks took for later ones of the same name, but not of all names that there ever were", () => {
    const { groups, ids } = tasks(Array.from({ length: 6000 }, (_, i) => `p${i}`));
    for (const task of ids) {
      groups.measured(task, 3);
      groups.forgotten(task);
    }
    expect(groups.kept.groups).toBe(0);
    expect(groups.kept.prefixes).toBeLessThan(5000);
    const last = ids.at(-1)!;
    expect(groups.duration_s(groups.of(last).prefix)).toBe(3);
    expect(groups.duration_s(groups.of(ids[0]!).prefix)).toBe(0.5);
  });

  test("expect what is configured, then the average in which the last task is a half", () => {
    const { groups, ids } = tasks(["x-1", "fast-1"]);
    const [x, fast] = ids.map((task) => groups.of(task).prefix);
    expect([groups.duration_s(x!), groups.duration_s(fast!)]).toEqual([0.5, 1e-6]);
    groups.measured(ids[0]!, 4);
    expect(groups.duration_s(x!)).toBe(4);
    groups.measured(ids[0]!, 1);
    expect(groups.duration_s(x!)).toBe(2.5);
  });

  test("expect twice of what runs longer than twice the average", () => {
    const { groups, ids } = tasks(["x-1"]);
    const { prefix } = groups.of(ids[0]!);
    groups.measured(ids[0]!, 1);
    groups.running(ids[0]!, 1.9);
    expect(groups.duration_s(prefix)).toBe(1);
    groups.running(ids[0]!, 5);
    expect(groups.duration_s(prefix)).toBe(10);
    groups.measured(ids[0]!, 7);
    expect(groups.duration_s(prefix)).toBe(7);
  });
});
