// Makes the result that notebooks show without another: `npm run build && node scripts/notebook-data.mjs`.
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const run = ["--zero-workers", "24", "--workload", "merge:10000", "--repeat", "3"];
const { status } = spawnSync(
  process.execPath,
  [join(root, "dist", "src", "cli", "main.js"), ...run, "--out", join(root, "notebooks", "data")],
  { stdio: "inherit" },
);
process.exitCode = status ?? 1;
