import { describe, expect, test } from "vitest";
import { ESTEE_GENERATORS } from "../../../simulator/workloads/estee/index.ts";
import { parseWorkload, type Workload } from "../../../simulator/workloads/index.ts";

const GIB = 2 ** 30;

/**
 * Of the study's table, for one core a task: tasks, objects, GiB of them all, tasks on the longest path. `taken`: objects that are
 * one of several of their task and that some task takes.
 */
const STUDY: readonly (readonly [string, number, number, number, number])[] = [
  ["plain1n", 380, 0, 0, 1],
  ["plain1e", 380, 0, 0, 1],
  ["triplets", 330, 0, 17.19, 3],
  ["merge_neighbours", 214, 0, 10.36, 2],
  ["merge_triplets", 148, 0, 10.77, 2],
  ["merge_small_big", 240, 0, 7.74, 2],
  ["fork1", 300, 0, 9.77, 2],
  ["fork2", 300, 200, 19.53, 2],
  ["bigmerge", 321, 0, 31.25, 2],
  ["duration_stairs", 380, 0, 0, 1],
  ["size_stairs", 191, 190, 17.53, 2],
  ["splitters", 255, 0, 32, 8],
  ["conflux", 255, 0, 32, 8],
  ["grid", 361, 0, 45.12, 37],
  ["fern", 401, 0, 11.11, 201],
  ["gridcat", 401, 0, 115.71, 4],
  ["crossv", 94, 5, 8.52, 5],
  ["fastcrossv", 94, 5, 8.52, 5],
  ["crossvx", 200, 20, 32.66, 5],
  ["nestedcrossv", 266, 5, 28.41, 8],
  ["mapreduce", 321, 25_760, 439.06, 3],
  ["montage", 77, -1, 0.21, 6],
  ["cybershake", 104, 4, 0.86, 4],
  ["epigenomics", 204, 101, 1.4, 8],
  ["ligo", 186, 0, 0.11, 6],
  ["sipht", 64, -1, 0.12, 5],
];

/** Items of a result with several parts take no time and are no tasks of the study's. */
function isItem({ key }: Workload, id: number): boolean {
  return key(id).startsWith("getitem-");
}

function longestPath(workload: Workload): number {
  const { tasks, dependency_offsets, dependency_ids } = workload;
  const levels = new Uint32Array(tasks);
  for (let id = 0; id < tasks; id++) {
    for (let e = dependency_offsets[id]!; e < dependency_offsets[id + 1]!; e++) {
      expect(dependency_ids[e]).toBeLessThan(id);
      levels[id] = Math.max(levels[id]!, levels[dependency_ids[e]!]!);
    }
    if (!isItem(workload, id)) levels[id]!++;
  }
  return Math.max(...levels);
}

describe("ESTEE's graphs", () => {
  test.each(STUDY)("%s has the study's %i tasks and shape", async (name, tasks, taken, gib, longest) => {
    const workload = await parseWorkload(`estee:${name}:7`);
    const ids = Array.from({ length: workload.tasks }, (_, id) => id);
    const items = ids.filter((id) => isItem(workload, id));
    expect(workload.tasks - items.length).toBe(tasks);
    if (taken >= 0) expect(items).toHaveLength(taken);
    expect(longestPath(workload)).toBe(longest);
    // Some have a few large objects of very different sizes: the mean of several draws.
    let bytes = 0;
    for (const seed of [1, 2, 3, 4, 5]) {
      const drawn = await parseWorkload(`estee:${name}:${seed}`);
      for (let id = 0; id < drawn.tasks; id++) if (!isItem(drawn, id)) bytes += drawn.nbytes![id]!;
    }
    expect(bytes / 5 / GIB).toBeGreaterThanOrEqual(gib * 0.85 - 0.02);
    expect(bytes / 5 / GIB).toBeLessThanOrEqual(gib * 1.15 + 0.02);
    for (const id of items) expect(workload.durations_us![id]).toBe(0);
    expect(ids.every((id) => isItem(workload, id) || workload.durations_us![id]! >= 0)).toBe(true);
  });

  test("are all in the table, but for the random ones", () => {
    const names = [...STUDY.map(([name]) => name), "randomized"];
    expect(Object.keys(ESTEE_GENERATORS).sort()).toEqual(names.sort());
  });

  test("have the study's durations", async () => {
    const mean = async (spec: string, prefix: string): Promise<number> => {
      const { tasks, key, durations_us } = await parseWorkload(spec);
      const of = Array.from({ length: tasks }, (_, id) => id).filter((id) =>
        key(id).startsWith(`${prefix}-`),
      );
      return of.reduce((sum, id) => sum + durations_us![id]!, 0) / of.length / 1e6;
    };
    expect(await mean("estee:triplets:1:2000", "b")).toBeCloseTo(120, -1);
    expect(await mean("estee:plain1e:1:20000", "task")).toBeCloseTo(60, -1);
    expect(await mean("estee:plain1n:1:20000", "task180")).toBeCloseTo(180, -1);
    // 250 MiB at 25 a second.
    expect(await mean("estee:mapreduce:1", "reduce")).toBeCloseTo(10, 0);
  });

  test("are functions of seed and size", async () => {
    for (const name of ["gridcat", "montage", "randomized", "sipht"]) {
      const [one, same, other] = [
        await parseWorkload(`estee:${name}:3`),
        await parseWorkload(`estee:${name}:3:${ESTEE_GENERATORS[name]!.size}`),
        await parseWorkload(`estee:${name}:4`),
      ];
      expect(same.durations_us).toEqual(one.durations_us);
      expect(same.dependency_ids).toEqual(one.dependency_ids);
      expect(other.durations_us).not.toEqual(one.durations_us);
    }
    expect((await parseWorkload("estee:bigmerge:1:10")).tasks).toBe(11);
    expect((await parseWorkload("estee:grid:1:4")).dependencies).toBe(2 * 4 * 3);
  });

  test("of every small size and any seed are sound", async () => {
    for (const name of Object.keys(ESTEE_GENERATORS))
      for (const size of [1, 2, 3, 5, 8])
        for (const seed of [0, 1, 2, 3]) {
          const workload = await parseWorkload(`estee:${name}:${seed}:${size}`);
          longestPath(workload);
          const { tasks, dependency_offsets, dependency_ids, wanted, nbytes } = workload;
          const needed = new Set(dependency_ids);
          expect(wanted).toEqual(
            Array.from({ length: tasks }, (_, id) => id).filter((id) => !needed.has(id)),
          );
          for (let id = 0; id < tasks; id++) {
            const row = dependency_ids.subarray(dependency_offsets[id], dependency_offsets[id + 1]);
            expect(new Set(row).size).toBe(row.length);
          }
          expect(nbytes!.every((bytes) => Number.isInteger(bytes) && bytes >= 0)).toBe(true);
        }
  });

  test("random ones have levels, links, copies and graphs side by side", async () => {
    const sizes = await Promise.all(
      Array.from({ length: 60 }, async (_, seed) => (await parseWorkload(`estee:randomized:${seed}`)).tasks),
    );
    expect(Math.min(...sizes)).toBeLessThan(100);
    expect(Math.max(...sizes)).toBeGreaterThan(300);
    expect(longestPath(await parseWorkload("estee:randomized:1:30"))).toBeGreaterThan(5);
  });

  test.each([
    ["estee:grid", "write it as estee:NAME:SEED[:SIZE]"],
    ["estee:grid:1:2:3", "write it as estee:NAME:SEED[:SIZE]"],
    ["estee:plain:1", "NAME must be one of plain1n, plain1e, triplets,"],
    ["estee:grid:x", "SEED must be a whole number"],
    ["estee:grid:1:501", "SIZE must be a whole number from 1 to 500"],
    ["estee:grid:1:", "SIZE must be a whole number from 1 to 500"],
  ])("%s is refused", async (spec, message) => {
    await expect(parseWorkload(spec)).rejects.toThrow(message);
  });
});
