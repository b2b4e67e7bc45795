// Makes the Python environments that the unpacker and interop tests run against: .venvs/dask-RELEASE for
// each supported dask release; and .venvs/notebooks, for the notebooks. A finished environment carries a marker with its
// list of packages, so a second run costs nothing and a run that was cut off starts where pip left it. One that was moved or
// copied here, whose programs start the Python of another place, is made anew.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const environments = [
  { name: "dask-2026.8.0", requirements: ["dask[complete]==2026.8.0", "hdrhistogram", "ipywidgets"] },
  { name: "dask-2024.12.1", requirements: ["dask[complete]==2024.12.1", "ipywidgets"] },
  {
    name: "dask-2022.12.1",
    // Releases of its time: pip itself would take ones that it cannot work with.
    requirements: [
      "dask[array,dataframe,distributed]==2022.12.1",
      "numpy==1.24.4",
      "pandas==1.5.3",
      "pyarrow==10.0.1",
    ],
  },
  // Beside the environments of dask, whose own tests it runs: test/interop/dask-tests.test.ts.
  { name: "pytest", requirements: ["pytest==9.2.0"] },
  { name: "notebooks", requirements: ["matplotlib==3.10.8", "jupytext==1.19.6"] },
];
/** Of the long suites alone (`--long`). */
const long_environments = [
  { name: "dask-2025.5.1", requirements: ["dask[array,dataframe,distributed]==2025.5.1"] },
  {
    name: "dask-2023.12.1",
    requirements: [
      "dask[array,dataframe,distributed]==2023.12.1",
      "numpy==1.26.4",
      "pandas==2.1.4",
      "pyarrow==14.0.2",
    ],
  },
];

function fail(message) {
  console.error(`venvs: ${message}`);
  process.exit(1);
}

/** Ends this script with a sentence of what went wrong, unless the command succeeds. */
function run(command, args) {
  const result = spawnSync(command, args, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  if (result.error) fail(`${command} does not start: ${result.error.message}`);
  if (result.status !== 0)
    fail(`'${command} ${args.join(" ")}' ended with ${result.status ?? result.signal}`);
}

function checkPython(python) {
  const result = spawnSync(python, ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"], {
    encoding: "utf8",
  });
  const advice = "the interop tests need Python 3.10 or newer; name one with PYTHON=/path/to/python3";
  if (result.error || result.status !== 0) fail(`${python} does not run; ${advice}`);
  const [major, minor] = result.stdout.trim().split(".").map(Number);
  if (major !== 3 || minor < 10) fail(`${python} is Python ${result.stdout.trim()}; ${advice}`);
}

/** The marker's first lines: an environment made for other requirements is not taken for complete. */
function markerHead(requirements) {
  return `${requirements.map((requirement) => `# ${requirement}`).join("\n")}\n`;
}

function isComplete(folder, requirements) {
  const marker = join(folder, "rsds-complete.txt");
  return existsSync(marker) && readFileSync(marker, "utf8").startsWith(markerHead(requirements));
}

function realPath(path) {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}

/** Whether the first line of pip, which every environment has, names a Python of another place than this one. */
function isMoved(folder) {
  const pip = join(folder, "bin", "pip");
  if (!existsSync(pip)) return false;
  const [, interpreter] = /^#!(\/.*\/python[\d.]*)$/m.exec(readFileSync(pip, "utf8")) ?? [];
  return interpreter !== undefined && realPath(dirname(interpreter)) !== realPath(dirname(pip));
}

function make({ name, requirements }, python) {
  const folder = join(root, ".venvs", name);
  if (isMoved(folder)) {
    console.error(`venvs: .venvs/${name} was made in another place, whose Python its programs start`);
    rmSync(folder, { recursive: true });
  }
  if (isComplete(folder, requirements)) return;
  checkPython(python);
  console.error(`venvs: making .venvs/${name} (${requirements.join(", ")}); this takes a minute or two`);
  const own = join(folder, "bin", "python");
  if (!existsSync(own)) run(python, ["-m", "venv", folder]);
  run(own, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", ...requirements]);
  const list = spawnSync(own, ["-m", "pip", "freeze", "--disable-pip-version-check"], { encoding: "utf8" });
  if (list.status !== 0) fail(`pip freeze failed in .venvs/${name}`);
  writeFileSync(join(folder, "rsds-complete.txt"), markerHead(requirements) + list.stdout);
}

const python = process.env.PYTHON ?? "python3";
const wanted = process.argv.includes("--long") ? [...environments, ...long_environments] : environments;
for (const environment of wanted) make(environment, python);
