import { sinks, type Workload } from "./workload.ts";

/** Several graphs as one, with nothing between them: the tasks of the first, then those of the second, and so on. */
export function union(name: string, parts: readonly Workload[]): Workload {
  const tasks = parts.reduce((sum, part) => sum + part.tasks, 0);
  const dependencies = parts.reduce((sum, part) => sum + part.dependencies, 0);
  const dependency_offsets = new Uint32Array(tasks + 1);
  const dependency_ids = new Uint32Array(dependencies);
  const part_of = new Uint8Array(tasks);
  const first_of: number[] = [];
  let task = 0;
  let edge = 0;
  for (const [index, part] of parts.entries()) {
    first_of.push(task);
    part_of.fill(index, task, task + part.tasks);
    for (let id = 0; id < part.tasks; id++)
      dependency_offsets[task + id + 1] = edge + part.dependency_offsets[id + 1]!;
    for (let e = 0; e < part.dependencies; e++) dependency_ids[edge + e] = task + part.dependency_ids[e]!;
    task += part.tasks;
    edge += part.dependencies;
  }
  return {
    name,
    tasks,
    dependencies,
    key: (id) => `part${part_of[id]!}_${parts[part_of[id]!]!.key(id - first_of[part_of[id]!]!)}`,
    dependency_offsets,
    dependency_ids,
    wanted: sinks(tasks, dependency_ids),
  };
}
