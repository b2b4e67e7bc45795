// A real run and its recording: `rsds scheduler`, real dask workers of one thread, a real client, `rsds record`.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { end, nextLine, rsdsBin, start, startScheduler } from "./processes.mjs";

const CLIENT = fileURLToPath(new URL("replay_client.py", import.meta.url));
/** What replay_client.py knows. */
export const REPLAY_CASES = ["merge", "groupby", "array"];
const START_MS_MAX = 60_000;

/** Until a process has said so on stderr. */
async function said(process, text) {
  const deadline = performance.now() + START_MS_MAX;
  while (!process.stderr.includes(text)) {
    if (process.over !== null) throw new Error(`ended with ${process.over.status}: ${process.over.stderr}`);
    if (performance.now() > deadline) throw new Error(`nobody said "${text}" in time: ${process.stderr}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export class RecordedCluster {
  #scheduler;
  #workers = [];
  #client;

  /** Answers itself. What was started when it rejects ends by {@link end}. */
  async start({ policy, python, workers }) {
    const here = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0"];
    this.#scheduler = await startScheduler([
      ...[process.execPath, rsdsBin(), "scheduler", ...here],
      ...["--python", python, "--scheduler", policy],
    ]);
    const { address } = this.#scheduler;
    // One thread for the numeric libraries too, or workers would fight over the cores.
    const env = { ...process.env, OMP_NUM_THREADS: "1", OPENBLAS_NUM_THREADS: "1", MKL_NUM_THREADS: "1" };
    const options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"];
    for (let i = 0; i < workers; i++)
      this.#workers.push(start(join(dirname(python), "dask"), ["worker", address, ...options], { env }));
    await Promise.all(this.#workers.map((worker) => said(worker, "Registered to:")));
    this.#client = start(python, [CLIENT, address], { env, stdio: ["pipe", "pipe", "pipe"] });
    return this;
  }

  /** One run of a case: the client's seconds. The first imports what the graph needs. */
  async run(name) {
    this.#client.child.stdin.write(`${name}\n`);
    return JSON.parse(await nextLine(this.#client, "the client")).wall_s;
  }

  /** The same, recorded to a file: the recording's header besides. */
  async record(name, file) {
    const { address } = this.#scheduler;
    const recorder = start(process.execPath, [rsdsBin(), "record", address, "--out", file, "--json"]);
    await said(recorder, "recording tcp");
    const wall_s = await this.run(name);
    recorder.child.kill("SIGINT");
    const { stdout, stderr } = await recorder.ended;
    if (stdout === "") throw new Error(`rsds record: ${stderr}`);
    return { wall_s, header: JSON.parse(stdout) };
  }

  /** To all of its processes: `SIGSTOP` while others have their turn. */
  signal(name) {
    for (const one of [this.#scheduler, ...this.#workers, this.#client]) one?.child.kill(name);
  }

  async end() {
    this.signal("SIGCONT");
    this.#client?.child.stdin.end();
    await this.#client?.ended;
    for (const one of [...this.#workers, this.#scheduler]) if (one !== undefined) await end(one);
  }
}
