import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach } from "vitest";
import { RsdsProcess, type RsdsProcessOptions } from "./rsds-process.ts";

/** Where a scheduler of a test's listens: any free port of this machine alone. */
export const HERE = ["--host", "127.0.0.1", "--dashboard-address", ":0", "--port", "0"] as const;

/** The processes of `rsds` that a file's tests start, and their files. */
export interface RsdsProcesses {
  /** Goes with the last test. */
  readonly directory: string;
  /** A path in it that nothing has yet. */
  fresh(ending?: string): string;
  /** Ends with its test, whatever it does. */
  start(...args: string[]): RsdsProcess;
  startWith(options: RsdsProcessOptions, ...args: string[]): RsdsProcess;
  /** `rsds scheduler` that listens. */
  scheduler(...more: string[]): Promise<{ readonly process: RsdsProcess; readonly address: string }>;
}

/** To be called by a test file, once. */
export function rsdsProcesses(): RsdsProcesses {
  const directory = mkdtempSync(join(tmpdir(), "rsds-test-"));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  const processes: RsdsProcess[] = [];
  afterEach(async () => {
    await Promise.all(processes.splice(0).map((one) => one.kill()));
  });
  let paths = 0;
  const startWith = (options: RsdsProcessOptions, ...args: string[]): RsdsProcess => {
    const one = new RsdsProcess(args, options);
    processes.push(one);
    return one;
  };
  const start = (...args: string[]): RsdsProcess => startWith({}, ...args);
  return {
    directory,
    fresh: (ending = "") => join(directory, `out-${++paths}${ending}`),
    start,
    startWith,
    scheduler: async (...more) => {
      const process = start("scheduler", ...HERE, ...more);
      const [, address] = await process.said(/Scheduler at: +(\S+)/);
      return { process, address: address! };
    },
  };
}
