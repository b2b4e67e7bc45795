import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { schedulerMain } from "../../src/cli/scheduler-command.ts";
import { contactAddress, type RunningServer, type ServerOptions } from "../../src/server/peers/options.ts";
import { until, World } from "../server/support/world.ts";
import { RsdsProcess } from "./rsds-process.ts";

const directory = mkdtempSync(join(tmpdir(), "rsds-test-"));
const worlds: World[] = [];

afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.stop()));
  rmSync(directory, { recursive: true, force: true });
});

/** The cold part of the server over a tiny cluster, started as the command line asks. */
async function start(options: ServerOptions): Promise<RunningServer> {
  let finish: (reason: string) => void = () => undefined;
  const finished = new Promise<string>((resolve) => {
    finish = resolve;
  });
  const world = new World({ ...options.limits }, options.log, (reason) => finish(reason));
  worlds.push(world);
  const listening = await world.listen(options.listen_address);
  world.server.address = contactAddress(listening, options.contact_host);
  world.server.startTimers(options.worker_ttl_ms, options.idle_timeout_ms);
  return {
    address: world.server.context.server.address,
    dashboard_port: 8787,
    finished,
    identityJson: () => world.server.identityJson(),
    close: (reason) => world.stop(reason),
  };
}

interface Run {
  readonly status: Promise<number>;
  readonly out: string[];
  readonly err: string[];
  /** Resolves once the address is printed. */
  address(): Promise<string>;
}

function run(...argv: string[]): Run {
  const out: string[] = [];
  const err: string[] = [];
  const status = schedulerMain(argv, start, {
    stdout: { write: (text) => out.push(text) },
    stderr: { write: (text) => err.push(text) },
    version: "1.2.3",
    // No configuration of this machine's is read.
    env: { HOME: directory, DASK_ROOT_CONFIG: directory },
  });
  const line = (): string | undefined => err.find((text) => text.includes("Scheduler at:"));
  return {
    status,
    out,
    err,
    address: async () => {
      await until(() => line() !== undefined, "the address");
      return line()?.split("Scheduler at:")[1]?.trim() ?? "";
    },
  };
}

describe("rsds scheduler", () => {
  test("prints its address as Dask does, and ends by SIGTERM with 0 and Dask's words", async () => {
    const { status, err, address } = run("--host", "127.0.0.1", "--port", "0");
    expect(await address()).toMatch(/^tcp:\/\/127\.0\.0\.1:\d+$/);
    process.emit("SIGTERM");
    expect(await status).toBe(0);
    const lines = err.map((line) =>
      line.replace(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - distributed\.scheduler - /, ""),
    );
    const at = await address();
    expect(lines).toEqual([
      `INFO - ${"-".repeat(47)}\n`,
      `INFO - ${"-".repeat(47)}\n`,
      `INFO -   Scheduler at: ${at.padStart(25)}\n`,
      `INFO -   dashboard at:  ${"http://127.0.0.1:8787/status".padStart(25)}\n`,
      "INFO - Received signal SIGTERM (15)\n",
      "INFO - Closing scheduler. Reason: signal-15\n",
      "INFO - Scheduler closing all comms\n",
      `INFO - Stopped scheduler at '${at}'\n`,
      "INFO - End scheduler\n",
    ]);
  });

  test("listens on all interfaces by default, and names an address of this machine", async () => {
    const { status, address } = run("--port", "0");
    expect(await address()).toMatch(/^tcp:\/\/(?!0\.0\.0\.0)[\w.[\]:]+:[1-9]\d*$/);
    process.emit("SIGINT");
    expect(await status).toBe(0);
  });

  test("writes the files and removes them at the end", async () => {
    const pid_file = join(directory, "deeper", "pid");
    const scheduler_file = join(directory, "scheduler.json");
    const files = ["--pid-file", pid_file, "--scheduler-file", scheduler_file];
    const { status, address } = run("--host", "127.0.0.1", "--port", "0", ...files);
    const at = await address();
    await until(() => existsSync(scheduler_file));
    expect(readFileSync(pid_file, "utf8")).toBe(String(process.pid));
    expect(JSON.parse(readFileSync(scheduler_file, "utf8"))).toMatchObject({
      type: "Scheduler",
      id: expect.stringMatching(/^Scheduler-/),
      address: at,
      services: {},
      started: expect.any(Number),
      workers: {},
    });
    process.emit("SIGTERM");
    expect(await status).toBe(0);
    expect([existsSync(pid_file), existsSync(scheduler_file)]).toEqual([false, false]);
  });

  test("ends with its standard input where it is asked to", async () => {
    const args = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"];
    const process = new RsdsProcess([...args, "--end-with-stdin"]);
    await process.said(/Scheduler at: /);
    process.child.stdin?.end("what is said there does not matter");
    const { status, stderr } = await process.ended;
    expect(status, stderr).toBe(0);
    expect(stderr).toContain("Standard input has ended: whoever started this scheduler is gone");
  });

  test("ends after the idle timeout", async () => {
    const { status, err } = run("--host", "127.0.0.1", "--port", "0", "--idle-timeout", "300ms");
    expect(await status).toBe(0);
    expect(err.join("")).toContain("Scheduler closing after being idle for 0.3 s");
  });

  test("ends when a client asks for it", async () => {
    const { status, address } = run("--host", "127.0.0.1", "--port", "0");
    await address();
    await worlds[0]?.ask("terminate", { reason: "by the client" });
    expect(await status).toBe(0);
  });

  test("says that the port is taken, and ends with 1", async () => {
    const first = run("--host", "127.0.0.1", "--port", "0");
    const port = (await first.address()).split(":").at(-1) ?? "";
    const second = run("--host", "127.0.0.1", "--port", port);
    expect(await second.status).toBe(1);
    expect(second.err.join("")).toContain("the port is taken");
    process.emit("SIGTERM");
    expect(await first.status).toBe(0);
  });

  test("says that a file cannot be written, and ends with 1, even where no folder can be made", async () => {
    for (const folder of ["package.json", "/proc/none"]) {
      const { status, err } = run("--port", "0", "--scheduler-file", join(folder, "s.json"));
      expect(await status).toBe(1);
      expect(err.join("\n")).toContain(folder);
    }
  });

  test("ends with 2 and one line for wrong usage, with 0 for help and version", async () => {
    const wrong = run("--jupyter");
    expect(await wrong.status).toBe(2);
    expect(wrong.err).toEqual([
      "rsds scheduler: --jupyter is not supported yet: leave it out, and start Jupyter by itself\n",
    ]);
    const version = run("--version");
    expect([await version.status, version.out.join("")]).toEqual([0, "1.2.3\n"]);
    const help = run("-h");
    expect([await help.status, help.out.join("").includes("--idle-timeout")]).toEqual([0, true]);
  });

  test("leaves no signal handlers behind", () => {
    expect([process.listenerCount("SIGTERM"), process.listenerCount("SIGINT")]).toEqual([0, 0]);
  });
});
