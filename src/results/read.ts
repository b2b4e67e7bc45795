import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { SimulatedSummary } from "./compare-simulations.ts";
import type { Summary } from "./summary.ts";

/** A folder that is no result folder. The message is one line for the user. */
export class ResultFolderError extends Error {
  override name = "ResultFolderError";
}

/** A result folder's summary, by what it is of. */
export type Result =
  | { readonly kind: "run"; readonly summary: Summary }
  | { readonly kind: "simulation"; readonly summary: SimulatedSummary };

/** The summary of a real run. Throws ResultFolderError where there is none that can be read. */
export async function readSummary(folder: string): Promise<Summary> {
  const { kind, summary } = await readResult(folder);
  if (kind === "run") return summary;
  throw new ResultFolderError(`${folder} is of a simulation: name the folder that a real run wrote`);
}

/** The summary of a result folder. Throws ResultFolderError where there is none that can be read. */
export async function readResult(folder: string): Promise<Result> {
  const path = join(folder, "summary.json");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    throw new ResultFolderError(`${path} cannot be read (${code}): name the folder that a run wrote`);
  }
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new ResultFolderError(`${path} is not JSON: name the folder that a run wrote`);
  }
  const simulated = isSimulation(document);
  const breach = simulated
    ? breachOf(document, SIMULATION, SIMULATED_REPEAT)
    : breachOf(document, SUMMARY, REPEAT);
  if (breach !== null) throw new ResultFolderError(`${path} is not a run's summary: ${breach}`);
  return simulated
    ? { kind: "simulation", summary: document as unknown as SimulatedSummary }
    : { kind: "run", summary: document as Summary };
}

type Check = (value: unknown) => boolean;
type Checks = Readonly<Record<string, Check>>;

const isNumber: Check = (value) => typeof value === "number" && Number.isFinite(value);
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const hasNumbers =
  (...names: readonly string[]): Check =>
  (value) =>
    isObject(value) && names.every((name) => isNumber(value[name]));
const isStat = hasNumbers("min", "median", "max");
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || value === null || check(value);
const numbersOf = (value: unknown): boolean => isObject(value) && Object.values(value).every(isNumber);
const rowsWith =
  (name: string, ...numbers: readonly string[]): Check =>
  (value) =>
    Array.isArray(value) &&
    value.every(
      (row) =>
        isObject(row) && typeof row[name] === "string" && numbers.every((figure) => isNumber(row[figure])),
    );
const isFleet: Check = (value) => {
  if (!isObject(value)) return false;
  const { cpu_us_per_task, busy_share, phases } = value;
  return (
    optional(isNumber)(cpu_us_per_task) &&
    optional(isNumber)(busy_share) &&
    rowsWith("phase", "us_per_task")(phases)
  );
};

const hasVersion: Check = (value) => {
  if (!isObject(value)) return false;
  const { version } = value;
  return typeof version === "string";
};

/** What a run and each of its repeats have in common, as far as a comparison reads it. */
const SECTIONS: Checks = {
  phases: optional(rowsWith("phase", "us_per_task", "share")),
  hops: optional(rowsWith("hop", "count", "p50_us", "p99_us")),
  unattributed_share: optional(isNumber),
  fleet: optional(isFleet),
  ledger: numbersOf,
  loop: hasNumbers("turns", "turn_max_ms", "turn_p999_ms"),
};

const REPEAT: Checks = {
  ...SECTIONS,
  makespan_s: isNumber,
  us_per_task: isNumber,
  scheduler_cpu_us_per_task: isNumber,
  unpacker_cpu_us_per_task: optional(isNumber),
  graph_s: isNumber,
  first_task_s: isNumber,
};

const SUMMARY: Checks = {
  ...SECTIONS,
  schema: (value) => value === "rsds.summary/1",
  rsds: hasVersion,
  machine: isObject,
  run: hasNumbers("tasks", "repeats"),
  makespan_s: isStat,
  us_per_task: isStat,
  scheduler_cpu_us_per_task: isStat,
  unpacker_cpu_us_per_task: optional(isStat),
  graph_s: isStat,
  first_task_s: isStat,
  memory_bytes_per_task: optional(isNumber),
  rss_max_bytes: isNumber,
  repeats: (value) => Array.isArray(value) && value.length > 0,
};

function isSimulation(document: unknown): boolean {
  return (
    typeof document === "object" &&
    document !== null &&
    "schema" in document &&
    document.schema === "rsds.simulation/1"
  );
}

const SIMULATED_REPEAT: Checks = {
  makespan_s: isNumber,
  utilisation: isNumber,
  bytes_moved: isNumber,
  transfers: isNumber,
  tasks_sent: isNumber,
  tasks_finished: isNumber,
  steals_asked: isNumber,
  steals_done: isNumber,
};

const SIMULATION: Checks = {
  rsds: hasVersion,
  run: hasNumbers("tasks", "repeats"),
  makespan_s: isStat,
  utilisation: isStat,
  bytes_moved: isStat,
  transfers: isStat,
  bounds: hasNumbers("critical_path_s", "work_per_core_s"),
  repeats: (value) => Array.isArray(value) && value.length > 0,
};

/** What is wrong with a document, or null. */
function breachOf(document: unknown, checks: Checks, of_repeat: Checks): string | null {
  if (!isObject(document)) return "it is no object";
  const wrong = Object.keys(checks).find((name) => !checks[name]!(document[name]));
  if (wrong !== undefined) return `its ${wrong} is not as rsds writes it`;
  const { repeats } = document as { readonly repeats: readonly unknown[] };
  for (const [i, repeat] of repeats.entries()) {
    const name = Object.keys(of_repeat).find((key) => !isObject(repeat) || !of_repeat[key]!(repeat[key]));
    if (name !== undefined) return `${name} of repeats[${i}] is not as rsds writes it`;
  }
  return null;
}
