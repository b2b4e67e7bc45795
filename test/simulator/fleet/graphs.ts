import type { GraphSource } from "../../../simulator/fleet/graph-message.ts";

/** `width` sources and their sum. */
export function mergeGraph(width: number, key = (i: number) => `add-${i}`): GraphSource {
  return {
    tasks: width + 1,
    key: (task) => (task === width ? "sum" : key(task)),
    dependency_offsets: Array.from({ length: width + 2 }, (_, i) => (i <= width ? 0 : width)),
    dependency_ids: Array.from({ length: width }, (_, i) => i),
    wanted: [width],
  };
}
