import type { FiguresMessage } from "../../src/trace/figures.ts";
import type { FleetFigures } from "./fleet.ts";
import type { GraphData } from "./graph-message.ts";
import type { ReleaseReport, SessionOptions, SessionStarted, SubmissionReport } from "./session.ts";

/** What the host asks of the fleet's thread: one request at a time is answered, in order. */
export type ThreadRequest =
  | { readonly kind: "start" }
  | { readonly kind: "load"; readonly graph: GraphData }
  | { readonly kind: "prepare"; readonly suffix: string }
  | { readonly kind: "submit" }
  | { readonly kind: "recorded" }
  | { readonly kind: "release"; readonly timeout_ms: number }
  | { readonly kind: "figures" }
  | { readonly kind: "close" };

export type ThreadResult =
  | SessionStarted
  | SubmissionReport
  | ReleaseReport
  | FleetFigures
  | FiguresMessage
  | null
  | undefined;

/** What the thread tells: an answer to each request in turn, and log lines at any time. */
export type ThreadMessage =
  | { readonly kind: "done"; readonly result: ThreadResult }
  | { readonly kind: "failed"; readonly error: string }
  | { readonly kind: "log"; readonly text: string };

/** The thread's `workerData`. */
export type ThreadData = SessionOptions;
