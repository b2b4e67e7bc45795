// A real run and its recording: `rsds scheduler`, real dask workers of one thread, a real client, `rsds record`.
import { fileURLToPath } from "node:url";
import {
  end,
  nextLine,
  rsdsBin,
  said,
  start,
  startClient,
  startScheduler,
  startWorkers,
} from "./processes.mjs";

const CLIENT = fileURLToPath(new URL("replay_client.py", import.meta.url));

export class RecordedCluster {
  #scheduler;
  #workers = [];
  #client;

  /** What was started when it rejects ends by {@link end}. */
  async start({ policy, python, workers }) {
    const here = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0"];
    this.#scheduler = await startScheduler([
      ...[process.execPath, rsdsBin(), "scheduler", ...here],
      ...["--python", python, "--scheduler", policy],
    ]);
    const { address } = this.#scheduler;
    this.#workers = await startWorkers(address, python, workers);
    this.#client = startClient(python, [CLIENT, address]);
  }

  /** One run of a case: the client's seconds. */
  async run(name) {
    this.#client.child.stdin.write(`${name}\n`);
    return JSON.parse(await nextLine(this.#client, "the client")).wall_s;
  }

  /** The same, recorded to a file: the recording's header besides. */
  async record(name, file) {
    const { address } = this.#scheduler;
    const recorder = start(process.execPath, [rsdsBin(), "record", address, "--out", file, "--json"]);
    await said(recorder, "recording tcp", "rsds record");
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
