// The suites that take too long for every change. `npm run suite -- [PART …] [--dask-suite DIR]`, after `npm ci`:
//   between   clients and workers of the releases between the supported ones
//   chaos     real workers killed, stopped, restarted and cut off, 20 times
//   memory    what 100 rounds leave behind, and what a client that does not read costs
//   dask      Dask's own tests against `rsds scheduler`: needs --dask-suite DIR, a folder with run-suite.sh, which takes a
//             scheduler's command and a list of tests, and lists/*.txt; its environments must have been made there.
// Without a PART: all, `dask` only where --dask-suite is given. Prints a line for each; status 0 only where all passed.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const LONG = { between: "releases-between", chaos: "chaos", memory: "memory" };
/** Dask's own tests take `tmpdir`, and their plugins rewrite modules that are imported already. */
const COLLECTIONS_OPTIONS = ["-p", "legacypath", "-W", "ignore::pytest.PytestAssertRewriteWarning"];
const PARTS = [...Object.keys(LONG), "dask"];

const { values, positionals } = parseArgs({
  options: { "dask-suite": { type: "string" } },
  allowPositionals: true,
});
const suite = values["dask-suite"] === undefined ? null : resolve(values["dask-suite"]);
const unknown = positionals.find((part) => !PARTS.includes(part));
if (unknown !== undefined) fail(`there is no part ${unknown}: the parts are ${PARTS.join(", ")}`);
if (positionals.includes("dask") && suite === null) fail("the part dask needs --dask-suite DIR");
if (suite !== null && !existsSync(join(suite, "run-suite.sh"))) fail(`${suite} has no run-suite.sh`);
const chosen =
  positionals.length > 0 ? positionals : PARTS.filter((part) => part !== "dask" || suite !== null);
if (!chosen.includes("dask"))
  console.error("suite: Dask's own tests are left out; --dask-suite DIR brings them in");

function fail(message) {
  console.error(`suite: ${message}`);
  process.exit(2);
}

function run(command, args) {
  return spawnSync(command, args, { cwd: root, stdio: "inherit" }).status === 0;
}

const outcomes = [];
function step(name, command, args) {
  const began = performance.now();
  const passed = run(command, args);
  outcomes.push(
    `${passed ? "passed" : "FAILED"}  ${name}  ${((performance.now() - began) / 1000).toFixed(0)} s`,
  );
  if (!passed) process.exitCode = 1;
}

if (!run(process.execPath, [join(root, "scripts", "venvs.mjs"), "--long"])) fail("no Python environments");
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
for (const part of chosen) {
  if (part !== "dask") {
    step(part, process.execPath, [
      vitest,
      "run",
      "--config",
      "vitest.long.config.ts",
      `test/long/${LONG[part]}`,
    ]);
    continue;
  }
  const scheduler = `${process.execPath} ${join(root, "dist", "src", "cli", "main.js")} scheduler --host 127.0.0.1 --port 0`;
  for (const list of readdirSync(join(suite, "lists")).filter((name) => name.endsWith(".txt")))
    step(`dask: ${list}`, join(suite, "run-suite.sh"), [
      scheduler,
      join(suite, "lists", list),
      ...(list.startsWith("dask-") ? COLLECTIONS_OPTIONS : []),
    ]);
}
console.log(outcomes.join("\n"));
