import { InvariantError } from "../base/assert.ts";

/** Dask's task states (distributed.scheduler.TaskStateState), as small integers for the state column. */
export const RELEASED = 0;
export const WAITING = 1;
export const NO_WORKER = 2;
export const QUEUED = 3;
export const PROCESSING = 4;
export const MEMORY = 5;
export const ERRED = 6;
export const FORGOTTEN = 7;

/** Dask's spelling of each state, by its number. */
export const STATE_NAMES = [
  "released",
  "waiting",
  "no-worker",
  "queued",
  "processing",
  "memory",
  "erred",
  "forgotten",
] as const;

export type TaskStateName = (typeof STATE_NAMES)[number];

/**
 * The edges that exist. Anything else goes through `released`, as in Dask
 * (distributed.scheduler.SchedulerState._TRANSITIONS_TABLE).
 * docs/state-machine.md draws them; a test compares the two.
 */
export const TRANSITIONS: Readonly<Record<TaskStateName, readonly TaskStateName[]>> = {
  released: ["waiting", "erred", "forgotten"],
  waiting: ["released", "no-worker", "queued", "processing", "memory"],
  "no-worker": ["released"],
  queued: ["released", "processing"],
  processing: ["released", "memory", "erred"],
  memory: ["released"],
  erred: ["released"],
  forgotten: [],
};

/** `ALLOWED[from * 8 + to]` is 1 where the edge exists: the table above for the hot path. */
const ALLOWED = new Uint8Array(64);
for (const [from, targets] of Object.entries(TRANSITIONS))
  for (const to of targets)
    ALLOWED[STATE_NAMES.indexOf(from as TaskStateName) * 8 + STATE_NAMES.indexOf(to)] = 1;

/** Throws {@link InvariantError} for an edge that is not in {@link TRANSITIONS}. */
export function checkEdge(from: number, to: number, task: number): void {
  if (ALLOWED[from * 8 + to] === 0)
    throw new InvariantError(`task ${task}: ${STATE_NAMES[from]} -> ${STATE_NAMES[to]} is not an edge`);
}
