import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The Python that Dask's own rules are asked of: `$RSDS_VENV_2026`, or that of `npm run venvs`. Throws where it is none. */
export function pythonWithDask(): string {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const { RSDS_VENV_2026: given = join(root, ".venvs", "dask-2026.8.0") } = process.env;
  const python = existsSync(given) && statSync(given).isDirectory() ? join(given, "bin", "python") : given;
  if (!existsSync(python))
    throw new Error(`no Python with dask 2026.8.0 at ${python}: run \`npm run venvs\``);
  return python;
}
