import { readFileSync } from "node:fs";
import os from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { InvariantError } from "../base/assert.ts";
import type { Machine } from "./summary.ts";

/** What a result's figures depend on. */
export function machineFacts(): Machine {
  return {
    cpu: os.cpus()[0]?.model.trim() ?? "unknown",
    cores: os.availableParallelism(),
    memory_bytes: os.totalmem(),
    os: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
  };
}

/** The package's version, from the package.json above this file: sources and dist/ lie at different depths. */
export function rsdsVersion(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const version = packageVersion(join(folder, "package.json"));
    if (version !== null) return version;
    const parent = dirname(folder);
    if (parent === folder) throw new InvariantError("no package.json of rsds above its own sources");
    folder = parent;
  }
}

function packageVersion(path: string): string | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    // Most folders have none.
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
  const manifest: { name?: unknown; version?: unknown } = JSON.parse(text);
  return manifest.name === "rsds" && typeof manifest.version === "string" ? manifest.version : null;
}
