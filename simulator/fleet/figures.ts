import type { FleetFigures } from "./fleet.ts";

/** CONTRACT's `fleet` of a summary: the fleet's own thread over a window. */
export interface FleetSummary {
  /** CPU of the fleet's thread; null where the system has no figure. */
  readonly cpu_us_per_task: number | null;
  /** Part of the window in which the fleet's loop was not waiting. */
  readonly busy_share: number;
  readonly phases: readonly FleetPhase[];
}

export interface FleetPhase {
  readonly phase: "read" | "decode" | "work" | "encode" | "write" | "idle";
  readonly total_s: number;
  readonly us_per_task: number;
  readonly share: number;
}

/**
 * The document form of a fleet's figures. `read` is what the loop did besides the spans: reading sockets, cutting
 * messages, the client stand-in, timers, collections.
 */
export function fleetSummary(figures: FleetFigures, tasks: number): FleetSummary {
  const times: readonly (readonly [FleetPhase["phase"], number])[] = [
    ["read", figures.read_ns],
    ["decode", figures.decode_ns],
    ["work", figures.work_ns],
    ["encode", figures.encode_ns],
    ["write", figures.write_ns],
    ["idle", figures.idle_ns],
  ];
  const wall_ns = Math.max(1, figures.wall_ns);
  const per_task = Math.max(1, tasks);
  return {
    cpu_us_per_task: figures.cpu_ns === null ? null : figures.cpu_ns / 1e3 / per_task,
    busy_share: 1 - Math.min(1, figures.idle_ns / wall_ns),
    phases: times.map(([phase, ns]) => ({
      phase,
      total_s: ns / 1e9,
      us_per_task: ns / 1e3 / per_task,
      share: ns / wall_ns,
    })),
  };
}
