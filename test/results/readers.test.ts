import { execFile, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { traceBreaches } from "./chrome-schema.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const PYTHON = join(root, ".venvs", "dask-2026.8.0", "bin", "python");
const transports = ["tcp", "memory", "direct"] as const;

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rsds-readers-"));
  const args = [
    "--zero-workers",
    "8",
    "--workload",
    "tree:9",
    "--repeat",
    "2",
    "--trace",
    "tasks",
    "--quiet",
  ];
  for (const transport of transports) {
    const all = [join(root, "dist/src/cli/main.js"), ...args, "--transport", transport];
    await promisify(execFile)(process.execPath, [...all, "--out", join(folder, transport)]);
  }
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

interface TraceEvent {
  readonly ph: string;
  readonly name: string;
  readonly ts: number;
  readonly dur: number;
  readonly args: { readonly repeat: number };
}

async function traceOf(transport: string): Promise<{ traceEvents: TraceEvent[] }> {
  const bytes = await readFile(join(folder, transport, "trace.json.gz"));
  return JSON.parse(gunzipSync(bytes).toString());
}

test.each(transports)("the Chrome trace of a %s run keeps the format strictly", async (transport) => {
  const trace = await traceOf(transport);
  expect(traceBreaches(trace)).toEqual([]);
  const spans = trace.traceEvents.filter((event) => event.ph === "X");
  const names = new Set(spans.map((span) => span.name));
  for (const name of ["transition", "placement", "graph"]) expect(names).toContain(name);
  expect(new Set(spans.map((span) => span.args.repeat))).toEqual(new Set([0, 1]));
});

test("the check of Chrome traces finds what is planted", async () => {
  const { traceEvents, ...rest } = await traceOf("direct");
  const at = traceEvents.findIndex((event) => event.ph === "X" && event.dur > 1);
  const span = traceEvents[at]!;
  const planted = (change: object): string[] =>
    traceBreaches({ ...rest, traceEvents: traceEvents.with(at, { ...span, ...change }) });
  expect(planted({})).toEqual([]);
  const wrong = [{ dur: -1 }, { ts: "1" }, { ph: "B" }, { tid: 77 }, { pid: 1.5 }, { more: 1 }, { cat: "x" }];
  for (const change of wrong) expect(planted(change), JSON.stringify(change)).not.toEqual([]);
  const crossing = { ...span, ts: span.ts + span.dur / 2 };
  expect(traceBreaches({ ...rest, traceEvents: [...traceEvents, crossing] })).not.toEqual([]);
  expect(traceBreaches({ ...rest, traceEvents: {} })).toEqual(["traceEvents is no list"]);
});

test.each(transports)("pandas reads the tables of a %s run as numbers, equal to the summary", (transport) => {
  const script = fileURLToPath(new URL("read-csvs.py", import.meta.url));
  const { stdout, stderr } = spawnSync(PYTHON, [script, join(folder, transport)], { encoding: "utf8" });
  expect(`${stdout}${stderr}`).toMatch(/^\d+ phases, \d+ hops: no breach\n$/);
});

test("Java's HdrHistogram reads the interval log, or the check says that it is not there", () => {
  const script = join(root, "scripts", "check-hlog-java.mjs");
  const run = (env: NodeJS.ProcessEnv): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(process.execPath, [script, join(folder, "tcp")], { encoding: "utf8", env });
  const without = run({ ...process.env, PATH: "/no/such/folder" });
  expect(without.stdout).toContain("there is no Java");
  expect(without.status).toBe(0);
  // The library is fetched by `npm run check:java` alone: tests need no network.
  if (!existsSync(join(root, ".cache", "java", "HdrHistogram-2.2.2.jar"))) return;
  const { status, stdout, stderr } = run(process.env);
  expect(stderr).toBe("");
  expect(stdout).toMatch(/reads \d+ histograms|there is no Java/);
  expect(status).toBe(0);
});
