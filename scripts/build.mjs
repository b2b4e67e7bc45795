// Compiles src/ and simulator/ to dist/, and puts the files that are not TypeScript beside their modules.
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, "dist");
rmSync(dist, { recursive: true, force: true });
const tsc = spawnSync(
  process.execPath,
  [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", "tsconfig.build.json"],
  {
    cwd: root,
    stdio: "inherit",
  },
);
if (tsc.status !== 0) process.exit(tsc.status ?? 1);
const python = join(root, "src", "unpacker", "python");
if (existsSync(python))
  cpSync(python, join(dist, "src", "unpacker", "python"), {
    recursive: true,
    filter: (path) => !path.includes("__pycache__"),
  });
for (const bin of ["main.js", "scheduler-main.js"]) {
  const path = join(dist, "src", "cli", bin);
  if (existsSync(path)) chmodSync(path, 0o755);
}
