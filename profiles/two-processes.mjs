// The scheduler's CPU a task where `rsds scheduler` and `rsds fleet` are processes of their own, beside that of
// `rsds --zero-workers`: the same work must cost the same. The two are measured in turn, since a shared
// machine is not the same from one minute to the next. The workload is submitted by the client stand-in of the zero run.
//   npm run build && node profiles/two-processes.mjs [--workload merge:100000] [--workers 168] [--repeat 5] [--rounds 3]
//     [--trace off] [--within 10]
// Status 1 where the two differ by more than `--within` per cent.
import { parseArgs } from "node:util";
import { ownCpuS, untilQuiet } from "./bench/proc.mjs";
import { end, rsdsBin, rsdsJson, startFleet, startScheduler } from "./bench/processes.mjs";
import { median, round, spread } from "./bench/statistics.mjs";

const { TcpTransport } = await import("../dist/src/comm/tcp.js");
const { WireMap } = await import("../dist/src/protocol/values.js");
const { ClientStandIn } = await import("../dist/simulator/fleet/client.js");
const { SystemFleetClock } = await import("../dist/simulator/fleet/clock.js");
const { clientOrder, GraphMessage, packGraph } = await import("../dist/simulator/fleet/graph-message.js");
const { parseWorkload, WorkloadError } = await import("../dist/simulator/workloads/index.js");

async function inOneProcess(options) {
  const { workload, workers, repeat, trace } = options;
  const args = ["--zero-workers", workers, "--workload", workload, "--repeat", repeat, "--trace", trace];
  const { repeats } = await rsdsJson(args);
  return repeats.map((one) => one.scheduler_cpu_us_per_task);
}

async function inTwoProcesses(options, workload, graph) {
  const scheduler = await startScheduler([
    process.execPath,
    rsdsBin(),
    "scheduler",
    ...["--host", "127.0.0.1", "--port", "0", "--trace", options.trace],
  ]);
  const { pid } = scheduler.child;
  if (ownCpuS(pid) === null) throw new Error("this system has no /proc to read another process's CPU from");
  const fleet = await startFleet(scheduler.address, options);
  const client = new ClientStandIn(new TcpTransport(), new SystemFleetClock());
  try {
    await client.connect(scheduler.address, WireMap.of({ host: WireMap.of({}), packages: WireMap.of({}) }));
    const costs = [];
    for (let repeat = 0; repeat <= options.repeat; repeat++) {
      const wanted = graph.wantedKeys(`-r${repeat}`);
      const chunks = graph.chunks(`-r${repeat}`);
      await untilQuiet(pid);
      const before_s = ownCpuS(pid);
      await client.submit(chunks, wanted);
      costs.push(((ownCpuS(pid) - before_s) * 1e6) / workload.tasks);
      client.release(wanted);
    }
    // The first is the warm-up, in both forms.
    return costs.slice(1);
  } finally {
    client.close();
    await end(fleet);
    await end(scheduler);
  }
}

function readOptions() {
  const { values } = parseArgs({
    options: {
      workload: { type: "string", default: "merge:100000" },
      workers: { type: "string", default: "168" },
      repeat: { type: "string", default: "5" },
      rounds: { type: "string", default: "3" },
      trace: { type: "string", default: "off" },
      within: { type: "string", default: "10" },
    },
  });
  const numbers = Object.fromEntries(
    ["workers", "repeat", "rounds", "within"].map((name) => {
      if (!(Number(values[name]) > 0)) throw new UsageError(`--${name} must be a number above 0`);
      return [name, Number(values[name])];
    }),
  );
  return { ...values, ...numbers };
}

class UsageError extends Error {}

async function main() {
  const options = readOptions();
  const workload = await parseWorkload(options.workload);
  const graph = new GraphMessage(packGraph(workload, clientOrder(workload.tasks)));
  const [one, two] = [[], []];
  for (let i = 0; i < options.rounds; i++) {
    one.push(...(await inOneProcess(options)));
    two.push(...(await inTwoProcesses(options, workload, graph)));
    process.stderr.write(`  round ${i + 1}: ${round(median(one))} and ${round(median(two))} µs a task\n`);
  }
  const difference = 100 * (median(two) / median(one) - 1);
  const within = Math.abs(difference) <= options.within;
  process.stdout.write(
    `${workload.name}, ${options.workers} workers, tcp, --trace ${options.trace}, ${one.length} repeats each; scheduler CPU, µs a task\n` +
      `  zero run        median ${round(median(one))}  ${spread(one)}\n` +
      `  two commands    median ${round(median(two))}  ${spread(two)}\n` +
      `  difference      ${difference.toFixed(1)} % (${within ? "within" : "NOT within"} ${options.within} %)\n`,
  );
  return within ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`two-processes: ${error.message}\n`);
  const wrong_usage = error instanceof UsageError || error instanceof WorkloadError;
  process.exitCode = wrong_usage || error.code?.startsWith("ERR_PARSE_ARGS") ? 2 : 1;
}
