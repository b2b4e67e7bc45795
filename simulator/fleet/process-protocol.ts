import type { FiguresMessage } from "../../src/trace/figures.ts";
import type { Phase } from "../../src/trace/phases.ts";
import type { FleetFigures } from "./fleet.ts";
import type { GraphData } from "./graph-message.ts";
import type { ReleaseReport, SessionOptions, SessionStarted, SubmissionReport } from "./session.ts";
import type { WorkerStamps } from "./stamps.ts";

/** What is planted in the fleet's spans from here on (`rsds calibrate`). */
export interface FleetDose {
  readonly phase: Phase;
  readonly delay_ns: number;
  readonly delays_max: number;
}

/** What the host asks of the fleet's process: one request at a time is answered, in order. */
export type FleetRequest =
  | { readonly kind: "start"; readonly options: SessionOptions }
  | { readonly kind: "load"; readonly graph: GraphData }
  | { readonly kind: "prepare"; readonly suffix: string }
  | { readonly kind: "submit" }
  | { readonly kind: "recorded" }
  | { readonly kind: "stamps" }
  | { readonly kind: "plant"; readonly dose: FleetDose | null }
  | { readonly kind: "planted" }
  | { readonly kind: "release"; readonly timeout_ms: number }
  | { readonly kind: "figures" }
  | { readonly kind: "close" };

export type FleetResult =
  | SessionStarted
  | SubmissionReport
  | ReleaseReport
  | FleetFigures
  | FiguresMessage
  | readonly WorkerStamps[]
  | Float64Array
  | null
  | undefined;

/** What the process tells: an answer to each request in turn, and log lines at any time. */
export type FleetMessage =
  | { readonly kind: "done"; readonly result: FleetResult }
  | { readonly kind: "failed"; readonly error: string }
  | { readonly kind: "log"; readonly text: string };
