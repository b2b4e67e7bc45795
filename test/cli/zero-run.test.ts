import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Profiler } from "node:inspector";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import type { Summary } from "../../src/results/summary.ts";
import { STAMP_NAMES } from "../../src/trace/phases.ts";
import { checkFolder, GRAPHS, MAIN, ROOT, RsdsProcess, rsds } from "./rsds-process.ts";

const directory = mkdtempSync(join(tmpdir(), "rsds-zero-run-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let folders = 0;
function freshFolder(): string {
  return join(directory, `out-${++folders}`);
}

function summaryOf(folder: string): Summary {
  return JSON.parse(readFileSync(join(folder, "summary.json"), "utf8"));
}

/** What CONTRACT.md says always holds. */
function expectBalanced({ ledger, run }: Summary): void {
  expect(ledger.tasks_finished).toBe(run.tasks * run.repeats + ledger.recomputed);
  expect(ledger.tasks_sent).toBe(ledger.tasks_finished + ledger.steals_done);
}

describe("rsds --zero-workers", () => {
  test("says what its training took, and that of each workload", async () => {
    const out = freshFolder();
    const { status, stdout, stderr } = await rsds(
      ...["--zero-workers", "8", "--workload", "merge:200", "--workload", "tree:6", "--repeat", "1"],
      ...["--training", "on", "--out", out, "--json"],
    );
    expect(stderr.match(/trained: \d+ ms, \d+ ms of CPU/g)).toHaveLength(2);
    expect(status).toBe(0);
    const summaries: Summary[] = JSON.parse(stdout);
    for (const { training } of summaries) expect(training?.cpu_s).toBeGreaterThan(0);
    for (const name of readdirSync(out)) expect(await checkFolder(join(out, name))).toContain("0 breaches");
  });

  test.each(["tcp", "memory", "direct"])("over %s: a folder that keeps the contract", async (transport) => {
    const out = freshFolder();
    const { status, stdout, stderr } = await rsds(
      ...["--zero-workers", "24", "--transport", transport, "--workload", "merge:2000"],
      ...["--repeat", "3", "--out", out, "--json"],
    );
    expect(stderr).toContain("repeat 3");
    expect(status).toBe(0);
    expect(await checkFolder(out)).toContain("0 breaches");
    const summary: Summary = JSON.parse(stdout);
    expect(summary).toEqual(summaryOf(out));
    expect(summary.training).toBeNull();
    expect(readdirSync(out).sort()).toEqual([...summary.files].sort());
    expectBalanced(summary);
    expect(summary.run).toMatchObject({ tasks: 2001, repeats: 3, zero_workers: 24, transport });
    const count = (hop: string) => summary.hops?.find((row) => row.hop === hop)?.count;
    for (const hop of ["submit→known", "known→ready", "ready→placed", "read→finished"])
      expect([hop, count(hop)]).toEqual([hop, 6003]);
    expect(count("finished→client")).toBe(3);
    const wire = transport === "direct" ? 0 : 6003;
    expect(count("encoded→written")).toBe(wire);
    expect(count("received→reported") ?? 0).toBe(wire);
    expect(summary.ledger.bytes_out > 0).toBe(transport !== "direct");
    expect(summary.fleet === undefined).toBe(transport !== "tcp");
  });

  test.each(["tcp", "direct"])(
    "--trace tasks over %s: a row a task, its stamps in order",
    async (transport) => {
      const out = freshFolder();
      const { status } = await rsds(
        ...["--zero-workers", "4", "--transport", transport, "--workload", "tree:6", "--scheduler", "random"],
        ...["--repeat", "2", "--trace", "tasks", "--out", out, "--quiet"],
      );
      expect(status).toBe(0);
      expect(await checkFolder(out)).toContain("0 breaches");
      const [header, ...lines] = gunzipSync(readFileSync(join(out, "tasks.csv.gz")))
        .toString()
        .trim()
        .split("\n");
      expect(header).toBe(`key,worker,repeat,${STAMP_NAMES.map((name) => `${name}_us`).join(",")}`);
      const rows = lines.map((line) => line.split(","));
      expect(new Set(rows.map((row) => row[0])).size).toBe(126);
      expect(rows.map((row) => row[2])).toEqual([...Array(63).fill("0"), ...Array(63).fill("1")]);
      expect(new Set(rows.map((row) => row[1])).size).toBe(4);
      // Never taken: real workers' own stamps, and over `direct` all that a wire has.
      const absent = transport === "direct" ? [4, 5, 6, 7, 8, 9] : [8, 9];
      for (const row of rows) {
        const stamps = row.slice(3);
        expect(absent.map((stamp) => stamps[stamp])).toEqual(absent.map(() => ""));
        // `written` is taken when the call returns, and a thread beside may have received the task by then.
        const times = stamps.filter((text, stamp) => text !== "" && stamp !== 5).map(Number);
        expect(times).toEqual([...times].sort((a, b) => a - b));
        expect(times.length).toBeGreaterThanOrEqual(transport === "direct" ? 6 : 9);
      }
      // Only the root is wanted.
      expect(rows.filter((row) => row.at(-1) !== "").length).toBe(2);
    },
  );

  test("--cpu-profile: V8's profile of the repeats, in the clock of the trace", async () => {
    const out = freshFolder();
    const { status } = await rsds(
      ...["--zero-workers", "4", "--workload", "merge:2000", "--repeat", "2", "--cpu-profile"],
      ...["--out", out, "--quiet"],
    );
    expect(status).toBe(0);
    expect(await checkFolder(out)).toContain("0 breaches");
    const { run, files } = summaryOf(out);
    expect(files).toContain("scheduler.cpuprofile");
    expect(run).toMatchObject({ cpu_profile: true });
    const profile: Profiler.Profile = JSON.parse(readFileSync(join(out, "scheduler.cpuprofile"), "utf8"));
    expect(profile.samples?.length).toBe(profile.timeDeltas?.length);
    expect(profile.nodes.some(({ callFrame }) => callFrame.url.endsWith("/src/server/loop.js"))).toBe(true);
  });

  test("--trace off: the summary alone, without what tracing would tell", async () => {
    const out = freshFolder();
    const { status, stdout, stderr } = await rsds(
      ...["--zero-workers", "24", "--workload", "random:500:1", "--repeat", "2"],
      ...["--trace", "off", "--out", out, "--quiet"],
    );
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^random:500:1 {2}500 tasks · 24 zero workers/);
    expect(stdout).toContain(`files in ${out}`);
    expect(readdirSync(out)).toEqual(["summary.json"]);
    expect(await checkFolder(out)).toContain("0 breaches");
    const summary = summaryOf(out);
    expectBalanced(summary);
    expect(summary.phases ?? summary.hops ?? summary.unattributed_share).toBeUndefined();
    expect(summary.loop.turns).toBeGreaterThan(0);
    expect(summary.memory_bytes_per_task).toBeGreaterThanOrEqual(0);
  });

  test("several workloads, one of them recorded: an array, and a folder for each", async () => {
    const out = freshFolder();
    const { status, stdout } = await rsds(
      ...["--zero-workers", "24", "--repeat", "1", "--out", out, "--json", "--quiet", "--order"],
      ...["--workload", join(GRAPHS, "tree-8.jsonl.gz"), "--workload", "tree:5", "--workload", "tree:5"],
    );
    expect(status).toBe(0);
    const summaries: Summary[] = JSON.parse(stdout);
    expect(summaries.map(({ run }) => run.tasks)).toEqual([255, 31, 31]);
    expect(summaries[0]?.run).toMatchObject({ order: true });
    expect(readdirSync(out).sort()).toEqual(["tree-5", "tree-5-2", "tree-8"]);
    for (const name of readdirSync(out)) expect(await checkFolder(join(out, name))).toContain("0 breaches");
    for (const summary of summaries) expectBalanced(summary);
  });

  test.each(["2022.12", "2024.12"])("the fleet speaks %s too", async (release) => {
    const out = freshFolder();
    const args = [
      "--release",
      release,
      "--flush",
      "each",
      "--repeat",
      "1",
      "--out",
      out,
      "--json",
      "--quiet",
    ];
    const { status, stdout } = await rsds("--zero-workers", "8", "--workload", "merge:200", ...args);
    expect(status).toBe(0);
    const summary: Summary = JSON.parse(stdout);
    expect(summary.run).toMatchObject({ release, flush: "each" });
    expectBalanced(summary);
  });
});

describe("a policy outside the process", () => {
  const python = join(ROOT, ".venvs", "dask-2026.8.0", "bin", "python");
  const greedy = `external:${python} ${join(ROOT, "profiles", "external", "greedy.py")}`;
  const run = ["--zero-workers", "6", "--workload", "random:300:2", "--repeat", "2", "--json", "--quiet"];

  test.each(["tcp", "memory"])(
    "places the tasks of a zero run over %s, and is a phase of it",
    async (transport) => {
      const out = join(directory, `external-${transport}`);
      const args = [...run, "--transport", transport, "--out", out, "--scheduler", greedy];
      const { status, stdout, stderr } = await rsds(...args);
      expect(stderr).toBe("");
      expect(status).toBe(0);
      const summary: Summary = JSON.parse(stdout);
      expectBalanced(summary);
      const policy = summary.phases?.find((row) => row.phase === "policy");
      expect(policy).toMatchObject({ parent: "scheduling" });
      expect(policy?.count).toBeGreaterThan(2);
      expect(policy?.total_s).toBeGreaterThan(0);
    },
  );

  test("that does not start ends the run with what its shell says", async () => {
    const { status, stdout, stderr } = await rsds(...run, "--scheduler", "external:no-such-policy-here");
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(
      /The policy `no-such-policy-here` cannot be used: it ended with exit code 127: .*not found/,
    );
  });

  test("that dies in the middle ends the run with the reason, not with figures of another policy", async () => {
    const dying = `external:${python} -c ${JSON.stringify(DYING)}`;
    const { status, stdout, stderr } = await rsds(...run, "--scheduler", dying);
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toContain("ended with exit code 1: ZeroDivisionError");
  });
});

/** Greets, and dies of the first news. */
const DYING = [
  "import sys, struct, msgpack",
  "read = lambda: msgpack.unpackb(sys.stdin.buffer.read(struct.unpack('<I', sys.stdin.buffer.read(4))[0]))",
  "packed = msgpack.packb({'batch': read()['batch'], 'assignments': []})",
  "sys.stdout.buffer.write(struct.pack('<I', len(packed)) + packed)",
  "sys.stdout.buffer.flush()",
  "read()['news'][1 // 0]",
].join("; ");

describe("wrong usage ends with 2 and one line that says what to change", () => {
  const zero = ["--zero-workers", "2"];
  test.each([
    [["--bogus"], "unknown option '--bogus'"],
    [["--zero-worker", "2"], "Did you mean --zero-workers?"],
    [["nonsense"], "the commands are scheduler, fleet, profile"],
    [["--workload", "merge:10"], "--zero-workers N"],
    [["--zero-workers", "0"], "from 1 to"],
    [[...zero, "--workload", "mrege:10"], "give merge:N"],
    [[...zero, "--workload", "merge:10", "--workload", "merge:x"], "N must be a whole number"],
    [[...zero, "--workload", "nowhere/x.jsonl.gz"], "no file nowhere/x.jsonl.gz"],
    [[...zero, "--scheduler", "heft"], "workstealing, random"],
    [[...zero, "--scheduler", "external:"], "external:CMD"],
    [[...zero, "--scheduler", "external:cat", "--transport", "direct"], "--transport tcp or memory"],
    [[...zero, "--transport", "udp"], "tcp, memory, direct"],
    [[...zero, "--trace", "all"], "off, phases, tasks"],
    [[...zero, "--repeat", "0"], "from 1 to"],
    [["fleet", "tcp://127.0.0.1:1"], "--workers"],
    [["--quiet", "scheduler"], "put --quiet behind the name"],
    [["--json", "fleet", "tcp://127.0.0.1:1", "--workers", "1"], "put --json behind the name"],
  ])("%j", async (args, words) => {
    const { status, stdout, stderr } = await rsds(...args);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^rsds: [^\n]+\n$/);
    expect(stderr).toContain(words);
  });

  test("a graph that does not read", async () => {
    const path = join(directory, "broken.jsonl.gz");
    writeFileSync(path, "no graph");
    const { status, stdout, stderr } = await rsds("--zero-workers", "2", "--workload", path);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr.trimEnd().split("\n").at(-1)).toContain("broken.jsonl.gz");
  });

  test("nothing at all: the help, which names what there is", async () => {
    const { status, stdout, stderr } = await rsds();
    expect([status, stdout]).toEqual([2, ""]);
    const there = [
      "--zero-workers",
      "--clinic",
      "--cpu-profile",
      "scheduler",
      "fleet",
      "calibrate",
      "compare",
    ];
    for (const words of there) expect(stderr).toContain(words);
    expect(stderr).toContain("simulate");
    const asked = await rsds("--help");
    expect([asked.status, asked.stdout, asked.stderr]).toEqual([0, stderr, ""]);
  });
});

describe("what goes wrong", () => {
  test.each(["/proc/nothing", "file/below"])(
    "--out %s cannot be written: 1, before any run",
    async (path) => {
      writeFileSync(join(directory, "file"), "");
      const out = path.startsWith("/") ? path : join(directory, path);
      const { status, stdout, stderr } = await rsds("--zero-workers", "2", "--out", out);
      expect([status, stdout]).toEqual([1, ""]);
      expect(stderr).toMatch(/^rsds: cannot write to [^\n]+--out[^\n]+\n$/);
    },
  );

  test("Ctrl-C in the warm-up: 130, and nothing to write", async () => {
    const out = freshFolder();
    const run = new RsdsProcess([
      "--zero-workers",
      "24",
      "--workload",
      "merge:100000",
      "--out",
      out,
      "--json",
    ]);
    await run.said(/zero workers over tcp/);
    run.child.kill("SIGINT");
    const { status, stdout, stderr } = await run.ended;
    expect([status, stdout]).toEqual([130, ""]);
    expect(stderr).toContain("nothing to write");
    expect(readdirSync(out)).toEqual([]);
  });

  test.each(["tcp", "memory"])(
    "Ctrl-C between repeats over %s: 130, with those that were over",
    async (transport) => {
      const out = freshFolder();
      const run = new RsdsProcess([
        ...["--zero-workers", "24", "--workload", "merge:5000", "--repeat", "1000"],
        ...["--transport", transport, "--out", out, "--json"],
      ]);
      await run.said(/repeat 1:/);
      run.child.kill("SIGINT");
      const { status, stdout } = await run.ended;
      expect(status).toBe(130);
      const summary: Summary = JSON.parse(stdout);
      expect(summary).toEqual(summaryOf(out));
      expect(summary.repeats.length).toBe(summary.run.repeats);
      expect(summary.run.repeats).toBeLessThan(1000);
      expectBalanced(summary);
      expect(await checkFolder(out)).toContain("0 breaches");
    },
  );

  test("a fleet that cannot start ends the run with 1 and one line", async () => {
    // 300 workers' two ends need more descriptors than that.
    const shell = `ulimit -n 200; exec "${process.execPath}" "${MAIN}" --zero-workers 300 --quiet --out "${freshFolder()}"`;
    const child = spawn("bash", ["-c", shell], { timeout: 200_000 });
    let stderr = "";
    child.stderr.on("data", (text) => {
      stderr += text;
    });
    expect(await new Promise((resolve) => child.on("close", resolve))).toBe(1);
    expect(stderr).toMatch(/^rsds: [^\n]+\n$/);
  });

  test("whoever reads stdout may stop reading", async () => {
    const run = new RsdsProcess([
      "--zero-workers",
      "2",
      "--workload",
      "tree:4",
      "--out",
      freshFolder(),
      "--quiet",
    ]);
    run.child.stdout?.destroy();
    expect(await run.ended).toMatchObject({ status: 0, stderr: "" });
  });
});
