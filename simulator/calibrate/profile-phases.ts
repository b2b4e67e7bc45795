import type { Profiler } from "node:inspector";
import type { ProfileAgreement, ProfileRow } from "../../src/results/calibration.ts";
import type { WindowFigures } from "../../src/trace/figures.ts";
import { SPAN_PHASES } from "../../src/trace/phases.ts";

/** How far a phase's share may be from the profile's, in points of a hundred. */
const POINTS_MAX = 5;

type Sampled = "scheduling" | "encoding" | "network" | "worker" | "gc" | "unattributed";

/**
 * What the functions are for that lie directly below a span: the first of these on the way from where a sample was
 * taken to the stack's root is its phase. `*` is every function of the file.
 */
const MARKERS: readonly (readonly [file: RegExp, functions: RegExp, phase: Sampled])[] = [
  [/^simulator\/fleet\/(?!stamps)/, /./, "worker"],
  [/^src\/schedulers\//, /./, "scheduling"],
  [/^src\/core\/(scheduler|transitions|ready)\.js$/, /./, "scheduling"],
  [/^src\/core\/graph-builder\.js$/, /^(commit|define)$/, "scheduling"],
  [/^src\/server\/streams\.js$/, /^#apply$/, "scheduling"],
  [/^src\/server\/graphs\/intake\.js$/, /^#order$/, "scheduling"],
  [/^src\/server\/graphs\/hlg\.js$/, /^define$/, "scheduling"],
  [/^src\/server\/graphs\/hlg\.js$/, /^read$/, "encoding"],
  [/^src\/server\/stream\/(worker-reader|compute-task|packet-writer)\.js$/, /./, "encoding"],
  [/^src\/server\/stream\/outbox\.js$/, /^#(encode|packetFrom|entry)$/, "encoding"],
  [/^src\/comm\//, /./, "network"],
  [/^src\/server\/loop\.js$/, /^#written$/, "network"],
  [/^src\/server\/loop\.js$/, /./, "scheduling"],
];

/** For stacks without any of those. */
const FILES: readonly (readonly [file: RegExp, phase: Sampled])[] = [
  [/^src\/core\//, "scheduling"],
  [/^src\/ordering\//, "scheduling"],
  [/^src\/(server\/stream|server\/graphs|protocol)\//, "encoding"],
  // Node's own work around callbacks: its queues of ticks, in which it finishes writes, among them.
  [/^node:/, "network"],
];

interface Frame {
  readonly file: string;
  readonly name: string;
}

/** Holds the recorder's phases against V8's samples of the same windows. */
export function profileAgreement(
  profile: Profiler.Profile,
  windows: readonly WindowFigures[],
): ProfileAgreement {
  const { times_us, samples } = sampledTimes(profile, windows);
  const recorded_ns = recordedTimes(windows);
  // V8 calls idle whatever lies between the loop's waiting and its next callback, so libuv's reading too, and calls
  // native code between callbacks the program. Both are the network's, less what libuv says that it waited.
  const outside_us = times_us.get("(idle)")! + times_us.get("(program)")!;
  const network_us = times_us.get("network")! + Math.max(0, outside_us - recorded_ns.idle / 1e3);
  const sampled_us: Record<Sampled, number> = {
    scheduling: times_us.get("scheduling")!,
    encoding: times_us.get("encoding")!,
    network: network_us,
    worker: times_us.get("worker")!,
    gc: times_us.get("gc")!,
    unattributed: times_us.get("unattributed")!,
  };
  const rows = (Object.keys(sampled_us) as Sampled[]).map(
    (phase): ProfileRow => ({
      phase,
      recorded_share: recorded_ns[phase] / recorded_ns.wall,
      sampled_share: (sampled_us[phase] * 1e3) / recorded_ns.wall,
    }),
  );
  const points_max = Math.max(
    ...rows.map(({ recorded_share, sampled_share }) => 100 * Math.abs(recorded_share - sampled_share)),
  );
  return { samples, rows, points_max, bound_points: POINTS_MAX, ok: points_max <= POINTS_MAX };
}

function recordedTimes(windows: readonly WindowFigures[]): Record<Sampled | "idle" | "wall", number> {
  const total = {
    scheduling: 0,
    encoding: 0,
    network: 0,
    worker: 0,
    gc: 0,
    unattributed: 0,
    idle: 0,
    wall: 0,
  };
  for (const figures of windows) {
    for (const [id, { top }] of SPAN_PHASES.entries()) total[top] += figures.phase_ns[id]!;
    total.gc += figures.gc_ns;
    total.idle += figures.idle_ns;
    total.unattributed += figures.unattributed_ns;
    total.wall += figures.end_ns - figures.start_ns;
  }
  return total;
}

/** Microseconds within the windows by phase: a sample stands for the time until the next. */
function sampledTimes(profile: Profiler.Profile, windows: readonly WindowFigures[]) {
  const phases = phasesOf(profile);
  const times_us = new Map<string, number>(
    ["scheduling", "encoding", "network", "worker", "gc", "unattributed", "(idle)", "(program)"].map(
      (name) => [name, 0],
    ),
  );
  const deltas = profile.timeDeltas ?? [];
  let at_us = profile.startTime;
  let samples = 0;
  for (const [i, node] of (profile.samples ?? []).entries()) {
    at_us += deltas[i]!;
    const until_us = at_us + (deltas[i + 1] ?? 0);
    const within_us = windows.reduce(
      (sum, { start_ns, end_ns }) =>
        sum + Math.max(0, Math.min(until_us, end_ns / 1e3) - Math.max(at_us, start_ns / 1e3)),
      0,
    );
    if (within_us === 0) continue;
    samples++;
    const phase = phases.get(node) ?? "unattributed";
    times_us.set(phase, times_us.get(phase)! + within_us);
  }
  return { times_us, samples };
}

/** The phase of each node of the call tree, which is one stack. */
function phasesOf({ nodes }: Profiler.Profile): Map<number, Sampled | "(idle)" | "(program)"> {
  const parents = new Map<number, number>();
  const frames = new Map<number, Frame>();
  for (const { id, callFrame, children } of nodes) {
    frames.set(id, { file: fileOf(callFrame.url), name: callFrame.functionName });
    for (const child of children ?? []) parents.set(child, id);
  }
  return new Map(
    nodes.map(({ id }) => {
      const stack: Frame[] = [];
      for (let at: number | undefined = id; at !== undefined; at = parents.get(at))
        stack.push(frames.get(at)!);
      return [id, phaseOf(stack)];
    }),
  );
}

/** `stack` from where the sample was taken to the root. */
function phaseOf(stack: readonly Frame[]): Sampled | "(idle)" | "(program)" {
  const [{ name, file } = { name: "", file: "" }] = stack;
  if (file === "" && name === "(garbage collector)") return "gc";
  if (file === "" && (name === "(idle)" || name === "(program)")) return name;
  for (const frame of stack) {
    const marker = MARKERS.find(([of, functions]) => of.test(frame.file) && functions.test(frame.name));
    if (marker !== undefined) return marker[2];
  }
  for (const frame of stack) {
    const found = FILES.find(([of]) => of.test(frame.file));
    if (found !== undefined) return found[1];
  }
  return "unattributed";
}

/** The path below the folder that was compiled to, `node:…`, or nothing for V8's own. */
function fileOf(url: string): string {
  return url.startsWith("node:") ? url : url.replace(/^.*\/(?=(?:src|simulator)\/)/, "");
}
