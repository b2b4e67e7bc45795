import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encode } from "@msgpack/msgpack";
import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { UnpackError, type UnpackRequest } from "../../src/unpacker/graph.ts";
import { resolvePython, type UnpackerOptions, UnpackerPool } from "../../src/unpacker/unpacker.ts";
import { type Case, makeCases, pythonOf, RELEASES, unpack } from "./support/cases.ts";

const { PYTHON = "python3" } = process.env;
const pools: UnpackerPool[] = [];

/** A pool without the imports ahead of need, which these tests do not need. */
function poolOf(options: UnpackerOptions): UnpackerPool {
  const pool = new UnpackerPool({ size_max: 1, preload: [], ...options });
  pools.push(pool);
  return pool;
}

afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close()));
});

async function failure(promise: Promise<unknown>): Promise<UnpackError> {
  const error = await promise.then(
    () => new Error("it did not fail"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof UnpackError)) throw error;
  return error;
}

/** What a client raises for this exception and traceback. */
function raised(release: string, error: UnpackError): string {
  const script =
    "import sys, msgpack; from distributed.core import clean_exception\n" +
    "e, t = msgpack.unpackb(sys.stdin.buffer.read())\n" +
    "typ, exc, tb = clean_exception(e, t)\n" +
    "print(type(exc).__name__, '|', exc, '|', repr(exc.__cause__), '|', tb is not None)";
  const input = encode([error.exception, error.traceback]);
  return execFileSync(pythonOf(release), ["-c", script], { encoding: "utf8", input });
}

async function expectWorks(pool: UnpackerPool, request: UnpackRequest): Promise<void> {
  const { structure } = await unpack(pool, request);
  expect(structure.task_count).toBe(1);
}

describe.each(RELEASES)("with graphs of %s that do not unpack", (release) => {
  let cases: Map<string, Case>;
  const caseOf = (name: string): Case => {
    const found = cases.get(name);
    if (found === undefined) throw new Error(`no case ${name}`);
    return found;
  };
  beforeAll(() => {
    cases = makeCases(release);
  });

  test("the client gets the exception that Dask's scheduler would send, with its traceback", async () => {
    const pool = poolOf({ python: pythonOf(release) });
    const error = await failure(unpack(pool, caseOf("raises")));
    expect(error.code).toBe("GRAPH");
    expect(error.message).toContain("Error during deserialization of the task graph");
    const [type, text, cause, has_traceback] = raised(release, error).trim().split(" | ");
    expect(type).toBe("RuntimeError");
    expect(text).toContain("different environments");
    expect(cause).toBe("ValueError('no such module here')");
    expect(has_traceback).toBe("True");
    await expectWorks(pool, caseOf("submit"));
  });

  test("bytes that are no graph are an error of that graph alone", async () => {
    const pool = poolOf({ python: pythonOf(release) });
    await pool.warmUp();
    const pids = pool.pids;
    const good = caseOf("submit");
    const noise = Uint8Array.from({ length: 300 }, (_, i) => (i * 151 + 7) % 256);
    const wrong: UnpackRequest[] = [
      { ...good, graph: { header: noise, frames: [noise] } },
      { ...good, graph: { header: good.graph.header, frames: [noise] } },
      { ...good, graph: { header: good.graph.header, frames: [] } },
      { ...good, graph: { header: encode({ serializer: "unheard of" }), frames: [noise] } },
      { ...good, keys: noise },
      { ...good, annotations: { header: noise, frames: [] } },
    ];
    for (const request of wrong) expect((await failure(unpack(pool, request))).code).toBe("GRAPH");
    await expectWorks(pool, good);
    expect(pool.pids).toEqual(pids);
  });

  test("a process that ends costs its own graph, and says how it ended", async () => {
    const pool = poolOf({ python: pythonOf(release) });
    const [died, killed] = await Promise.all([
      failure(unpack(pool, caseOf("dies"))),
      failure(unpack(pool, caseOf("killed"))),
      expectWorks(pool, caseOf("submit")),
    ]);
    expect(died).toMatchObject({ code: "DIED", exception: null });
    expect(died.message).toMatch(/ended with exit code 3/);
    expect(killed.message).toMatch(/was ended by SIGKILL/);
    await expectWorks(pool, caseOf("submit"));
  });

  test("a process that hangs is ended after the time without progress", async () => {
    const pool = poolOf({ python: pythonOf(release), stall_ms_max: 3_000 });
    await pool.warmUp();
    const [pid] = pool.pids;
    const error = await failure(unpack(pool, caseOf("hangs")));
    expect(error.code).toBe("STALLED");
    await expectWorks(pool, caseOf("submit"));
    expect(pool.pids).not.toContain(pid);
    expect(() => process.kill(pid as number, 0)).toThrow();
  });

  test("a graph that hangs does not hold up another client's, if there is room for a second process", async () => {
    const pool = poolOf({ python: pythonOf(release), size_max: 2 });
    const hanging = failure(unpack(pool, caseOf("hangs")));
    await expectWorks(pool, caseOf("submit"));
    expect(pool.pids).toHaveLength(2);
    await pool.close();
    expect((await hanging).code).toBe("CLOSED");
  });

  test("a graph does not wait for a second process to start where the first one is free before", async () => {
    const folder = mkdtempSync(join(tmpdir(), "rsds-unpacker-"));
    try {
      // The first process starts as ever, each other one takes a minute.
      const script = join(folder, "python");
      const text = `#!/bin/sh\nmkdir ${folder}/first 2>/dev/null || exec sleep 60\nexec ${pythonOf(release)} "$@"\n`;
      writeFileSync(script, text, { mode: 0o755 });
      const pool = poolOf({ python: script, size_max: 2 });
      const first = expectWorks(pool, caseOf("submit"));
      const second = expectWorks(pool, caseOf("submit"));
      await vi.waitFor(() => expect(pool.pids).toHaveLength(2), { interval: 10 });
      await Promise.all([first, second]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("a graph that is opened in no time is no reason for a second process", async () => {
    const pool = poolOf({ python: pythonOf(release), size_max: 2 });
    await pool.warmUp();
    await Promise.all([expectWorks(pool, caseOf("submit")), expectWorks(pool, caseOf("submit"))]);
    expect(pool.pids).toHaveLength(1);
  });

  test("graphs that come while libraries are imported ahead of need open as ever", async () => {
    for (let i = 0; i < 4; i++) {
      const pool = poolOf({ python: pythonOf(release), preload: ["numpy", "pyarrow", "pandas", "nowhere"] });
      await pool.warmUp();
      await new Promise((resolve) => setTimeout(resolve, 100 * i));
      for (const name of ["submit", "groupby", "submit"]) await unpack(pool, caseOf(name));
      await pool.close();
    }
  });

  test("processes beyond those that stay end when nothing needs them", async () => {
    const pool = poolOf({ python: pythonOf(release), size_max: 3, spare_ms_max: 50 });
    pool.prepare(5);
    const prepared = pool.pids;
    expect(prepared).toHaveLength(2);
    await Promise.all([1, 2, 3].map(() => expectWorks(pool, caseOf("submit"))));
    await vi.waitFor(() => expect(pool.pids).toHaveLength(2), { timeout: 20_000 });
    await expectWorks(pool, caseOf("submit"));
  });

  test("what user code prints, or its exit, stays out of the pipe", async () => {
    const lines: string[] = [];
    const pool = poolOf({ python: pythonOf(release), onLine: (line) => lines.push(line) });
    expect((await failure(unpack(pool, caseOf("prints")))).code).toBe("GRAPH");
    expect((await failure(unpack(pool, caseOf("exits")))).message).toContain("SystemExit(5)");
    await expectWorks(pool, caseOf("submit"));
    expect(lines).toContain("hello from user code");
  });

  test("a request that is given up leaves its process to the next one", async () => {
    const pool = poolOf({ python: pythonOf(release) });
    const silent = () => {
      throw new Error("a handler was called after the request was given up");
    };
    const handlers = { onStructure: silent, onSpecs: silent, onDone: silent, onError: silent };
    const early = pool.unpack(caseOf("map-main"), handlers);
    const queued = pool.unpack(caseOf("map-main"), handlers);
    pool.cancel(queued);
    pool.cancel(early);
    await expectWorks(pool, caseOf("submit"));
    const late = await new Promise<number>((resolve) => {
      pool.unpack(caseOf("map-main"), { ...handlers, onStructure: (_, id) => resolve(id) });
    });
    pool.cancel(late);
    pool.sendOrder(late, null);
    await expectWorks(pool, caseOf("submit"));
  });

  test("exceptions that the scheduler makes keep their types", async () => {
    const pool = poolOf({ python: pythonOf(release) });
    const asError = async (pickle: Promise<Uint8Array>) =>
      raised(
        release,
        new UnpackError("GRAPH", "", { exception: await pickle, traceback: null, traceback_text: "" }),
      );
    const worker = { address: "tcp://10.0.0.7:1234", name: "seven", nthreads: 2 };
    const killed = await asError(pool.pickleException("KilledWorker", encode([["x", 1], 3]), worker));
    expect(killed).toMatch(/^KilledWorker .*\('x', 1\) on 4 different workers.*tcp:\/\/10\.0\.0\.7:1234/);
    const no_worker = await asError(pool.pickleException("NoWorkerError", encode(["x", 2.5]), null));
    expect(no_worker).toMatch(/^NoWorkerError .*2\.50 s/);
    const none_fits = await asError(
      pool.pickleException("NoValidWorkerError", encode(["x", ["h"], [], { GPU: 1 }, 1]), null),
    );
    expect(none_fits).toMatch(/^NoValidWorkerError/);
    const lost = await asError(
      pool.pickleException("RuntimeError", encode(["Worker holding Actor was lost"]), null),
    );
    expect(lost).toMatch(/^RuntimeError \| Worker holding Actor was lost/);
    expect((await failure(pool.pickleException("open", encode(["x"]), null))).code).toBe("GRAPH");
  });
});

describe("a Python that will not do", () => {
  const request: UnpackRequest = {
    kind: "expr",
    graph: { header: Uint8Array.of(0x80), frames: [] },
    annotations: null,
    keys: Uint8Array.of(0x90),
  };

  test("is named when it does not exist, each time it is needed", async () => {
    const pool = poolOf({ python: "/nowhere/python3" });
    for (let i = 0; i < 2; i++) {
      const error = await failure(unpack(pool, request));
      expect(error.code).toBe("NO_PYTHON");
      expect(error.message).toContain("/nowhere/python3");
    }
    expect((await failure(pool.warmUp())).code).toBe("NO_PYTHON");
  });

  test("is named when it is no Python, or ends at once", async () => {
    expect((await failure(unpack(poolOf({ python: "/bin/false" }), request))).code).toBe("DIED");
    const noisy = await failure(unpack(poolOf({ python: "/bin/echo" }), request));
    expect(noisy.code).toBe("DIED");
  });

  test("is not started ahead of need again and again where it does not start", async () => {
    const pool = poolOf({ python: "/nowhere/python3", size_max: 2 });
    pool.prepare(1);
    await vi.waitFor(() => expect(pool.pids).toEqual([]));
    await new Promise((resolve) => setTimeout(resolve, 50));
    pool.prepare(2);
    expect((await failure(pool.warmUp())).code).toBe("NO_PYTHON");
  });

  test("is named when it has no dask", async () => {
    const folder = mkdtempSync(join(tmpdir(), "rsds-unpacker-"));
    try {
      execFileSync(PYTHON, ["-m", "venv", "--without-pip", folder]);
      const pool = poolOf({ python: resolvePython(undefined, { VIRTUAL_ENV: folder }) });
      const error = await failure(unpack(pool, request));
      expect(error.code).toBe("NO_DASK");
      expect(error.message).toContain("No module named");
      expect(error.message).toContain(folder);
      expect(pool.pids).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("is named when its dask is older than the client's", async () => {
    const error = await failure(unpack(poolOf({ python: pythonOf("2024.12.1") }), request));
    expect(error.code).toBe("VERSION");
    expect(error.message).toContain("has dask 2024.12.1");
  });

  test("is python3 where nothing else is said", () => {
    expect(resolvePython(undefined, {})).toBe("python3");
    expect(resolvePython("/x/python", { VIRTUAL_ENV: "/v" })).toBe("/x/python");
    expect(resolvePython(undefined, { VIRTUAL_ENV: "/v" })).toBe("/v/bin/python");
  });
});

describe("the end", () => {
  test("ends the processes, and refuses what comes after", async () => {
    const pool = poolOf({ python: pythonOf("2026.8.0") });
    await pool.warmUp();
    const [pid] = pool.pids;
    await pool.close();
    expect(() => process.kill(pid as number, 0)).toThrow();
    expect((await failure(pool.warmUp())).code).toBe("CLOSED");
  });

  test("of the scheduler without a word ends a process that is busy with a graph", async () => {
    const folder = mkdtempSync(join(tmpdir(), "rsds-unpacker-"));
    try {
      // The shell stands for the scheduler: Python's parent, which is killed.
      const parent = join(folder, "parent.sh");
      const pid_file = join(folder, "pid");
      const script = `#!/bin/sh\nexec 3<&0\n${pythonOf("2026.8.0")} "$@" <&3 &\necho $! > ${pid_file}\nwait\n`;
      writeFileSync(parent, script, { mode: 0o755 });
      const pool = poolOf({ python: parent });
      await pool.warmUp();
      const hanging = failure(unpack(pool, makeCases("2026.8.0").get("hangs") as Case));
      const python_pid = Number(readFileSync(pid_file, "utf8"));
      process.kill(pool.pids[0] as number, "SIGKILL");
      expect((await hanging).code).toBe("DIED");
      await vi.waitFor(() => expect(() => process.kill(python_pid, 0)).toThrow(), { timeout: 15_000 });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
