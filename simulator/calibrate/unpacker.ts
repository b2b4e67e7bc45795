import { spawn } from "node:child_process";
import type { Movement, PlantRow } from "../../src/results/calibration.ts";
import { GraphLog, type GraphRecord } from "../../src/server/graphs/graph-log.ts";
import { ServerLog } from "../../src/server/peers/log.ts";
import { DEFAULT_PEER_LIMITS } from "../../src/server/peers/options.ts";
import { SchedulerServer } from "../../src/server/server.ts";
import { Probe } from "../../src/trace/tracer.ts";
import { resolvePython } from "../../src/unpacker/unpacker.ts";
import { FleetProcess } from "../fleet/host.ts";
import { ERROR_MAX, isWithinNoise, LEAK_MAX } from "./bounds.ts";
import { median, spread } from "./statistics.ts";

/**
 * A real client whose graphs hold objects that take their time to be unpickled, as users' own classes may: nothing
 * in the unpacker knows that something is planted. A graph without such objects and one with them, in turn.
 */
const CLIENT = `
import sys, time
try:
    from distributed import Client
except ImportError as error:
    sys.exit(f"it has no distributed ({error})")

def spin(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
    return 0

class Planted:
    def __init__(self, seconds):
        self.seconds = seconds
    def __reduce__(self):
        return spin, (self.seconds,)

def main(address, rounds, plants, seconds):
    with Client(address, timeout=30) as client:
        for round in range(rounds):
            for planted in (0, 1):
                name = f"calibrate-{round}-{planted}"
                value = lambda i: Planted(seconds) if planted and i < plants else 0
                graph = {f"{name}-{i}": (abs, value(i)) for i in range(4 * plants)}
                client.get(graph, list(graph))

main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
`;

const PLANTS = 20;
const DELAY_S = 0.01;
/** The first graphs of a new Python process pay its imports. */
const WARM_UPS = 2;
/** More rounds say nothing more. */
const ROUNDS_MAX = 48 - WARM_UPS;
/** Two graphs a round. */
const GRAPHS_MAX = 2 * (ROUNDS_MAX + WARM_UPS);
const WORKERS = 4;

/** Delays in the Python child against `graphs[].unpack_s`, or the reason why there are none. */
export async function plantInUnpacker(
  chosen: string | null,
  rounds: number,
  version: string,
  signal: AbortSignal,
): Promise<PlantRow | string> {
  const python = resolvePython(chosen ?? undefined, process.env);
  const log = new ServerLog("rsds.calibrate", () => undefined);
  const server = new SchedulerServer({
    listen_address: "tcp://127.0.0.1:0",
    contact_host: null,
    scheduler: "workstealing",
    seed: 1,
    python,
    limits: DEFAULT_PEER_LIMITS,
    log,
    version,
    probe: new Probe(),
  });
  const graphs = new GraphLog(GRAPHS_MAX);
  server.intake.graphs = graphs;
  const address = await server.start();
  const fleet = new FleetProcess(
    {
      ...{ address, workers: WORKERS, release: "2026.8", flush: "turn" },
      ...{ stamps: false, client: false, trace: false },
    },
    () => undefined,
  );
  try {
    await fleet.start();
    const all = Math.min(rounds, ROUNDS_MAX) + WARM_UPS;
    const failed = await runClient(python, [address, String(all), String(PLANTS), String(DELAY_S)], signal);
    signal.throwIfAborted();
    if (failed !== null) return `${python} cannot submit graphs: ${failed}`;
    return rowOf(graphs.records.slice(2 * WARM_UPS));
  } finally {
    await fleet.kill();
    await server.close("the calibration is over");
  }
}

/** null: it did all that it should; else the last that it said. */
function runClient(python: string, args: readonly string[], signal: AbortSignal): Promise<string | null> {
  return new Promise((resolve) => {
    let said = "";
    const child = spawn(python, ["-c", CLIENT, ...args], { stdio: ["ignore", "ignore", "pipe"] });
    // An interrupted calibration has no result, so the client has nothing to finish.
    const kill = (): void => void child.kill("SIGKILL");
    signal.addEventListener("abort", kill, { once: true });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-2000);
    });
    child.on("error", (error) => {
      said = error.message;
      if (child.pid === undefined) resolve(said);
    });
    child.on("close", (status) => {
      signal.removeEventListener("abort", kill);
      resolve(status === 0 ? null : (said.trim().split("\n").at(-1) ?? `it ended with ${status}`));
    });
  });
}

/** Graphs without and with plants in turn. */
function rowOf(records: readonly GraphRecord[]): PlantRow {
  const plain = records.filter((_, i) => i % 2 === 0);
  const planted = records.filter((_, i) => i % 2 === 1);
  const planted_ms = PLANTS * DELAY_S * 1e3;
  const base_ms = median(plain.map(({ unpack_ns }) => unpack_ns / 1e6));
  const growths = planted.map(({ unpack_ns }) => unpack_ns / 1e6 - base_ms);
  const error = median(growths.map((growth) => growth / planted_ms - 1));
  const moved = (["decode", "order", "insert"] as const).map((phase): Movement => {
    const ms = (record: GraphRecord): number => record[`${phase}_ns`] / 1e6;
    const moved_ms = median(planted.map(ms)) - median(plain.map(ms));
    return {
      phase: `graph ${phase}`,
      moved_ms,
      noise_ms: Math.max(spread(plain.map(ms)), LEAK_MAX * planted_ms),
    };
  });
  return {
    planted_in: "unpacker",
    delays: PLANTS,
    delay_us: DELAY_S * 1e6,
    planted_ms,
    // The delays are of CPU time, which nobody else's work can lengthen.
    clocked_ms: planted_ms,
    attributed_ms: median(growths),
    error,
    moved_in_fleet: [],
    moved: moved.sort((a, b) => Math.abs(b.moved_ms) - Math.abs(a.moved_ms)),
    ok: Math.abs(error) <= ERROR_MAX && moved.every(isWithinNoise),
  };
}
