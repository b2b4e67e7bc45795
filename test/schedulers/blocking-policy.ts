import { execFileSync, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Batch } from "../../src/schedulers/external/messages.ts";
import { ExternalPolicy } from "../../src/schedulers/external/policy.ts";
import { encodePolicyMessage, PolicyPipeReader } from "../../src/server/policy/policy-pipe.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const PYTHON = join(ROOT, ".venvs", "dask-2026.8.0", "bin", "python");
const EXAMPLE = join(ROOT, "profiles", "external", "greedy.py");

/**
 * The example policy in a Python process of its own, asked in lock step: what it is told in a turn, it answers within that turn. So the
 * tests of policies, which wait for nothing, can drive it; the server does not wait.
 */
export class BlockingPolicy {
  readonly policy: ExternalPolicy;
  readonly #folder = mkdtempSync(join(tmpdir(), "rsds-policy-"));
  readonly #out: number;
  readonly #in: number;
  readonly #reader = new PolicyPipeReader((message) => this.#received(message));
  #answers: unknown[] = [];

  constructor(seed: number) {
    const paths = ["in", "out"].map((name) => join(this.#folder, name));
    execFileSync("mkfifo", paths);
    // The shell opens one end after the other, each of which waits for ours.
    const child = spawn("sh", ["-c", 'exec "$1" "$2" < "$3" > "$4"', "sh", PYTHON, EXAMPLE, ...paths], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    child.unref();
    this.#out = openSync(paths[0]!, "w");
    this.#in = openSync(paths[1]!, "r");
    this.#exchange({ batch: 0, protocol: 1, news: [] });
    this.policy = new ExternalPolicy({ seed, send: (batch) => this.#send(batch) });
  }

  #send(batch: Batch): void {
    this.policy.answer(this.#exchange(batch));
  }

  #exchange(message: unknown): unknown {
    const bytes = encodePolicyMessage(message);
    for (let at = 0; at < bytes.byteLength; ) at += writeSync(this.#out, bytes, at);
    const chunk = Buffer.alloc(1 << 16);
    while (this.#answers.length === 0) {
      const count = readSync(this.#in, chunk);
      if (count === 0) throw new Error("the example policy has ended");
      this.#reader.push(chunk.subarray(0, count));
    }
    return this.#answers.shift();
  }

  #received(message: unknown): void {
    this.#answers.push(message);
  }

  close(): void {
    closeSync(this.#out);
    closeSync(this.#in);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
