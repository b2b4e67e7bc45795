// Another commit beside this one: built in a worktree of its own, the two run in turn, so that whatever else the
// machine does meets both alike.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { output, ROOT, rsdsBin, rsdsJson } from "./processes.mjs";
import { renderTable } from "./report.mjs";
import { median, ratioInterval, round } from "./statistics.mjs";

/** No such commit: wrong usage. */
export class UnknownCommit extends Error {}

/** Builds a commit, calls `use` with its folder, and removes it again, whatever happens. */
export async function withCommit(commit, say, use) {
  const id = spawnSync(
    "git",
    ["rev-parse", "--verify", "--quiet", "--end-of-options", `${commit}^{commit}`],
    {
      cwd: ROOT,
      encoding: "utf8",
    },
  );
  if (id.status !== 0) throw new UnknownCommit(`--against ${commit}: git knows no such commit`);
  const root = join(mkdtempSync(join(tmpdir(), "rsds-against-")), "rsds");
  const remove = () => {
    spawnSync("git", ["worktree", "remove", "--force", root], { cwd: ROOT });
    rmSync(join(root, ".."), { recursive: true, force: true });
    spawnSync("git", ["worktree", "prune"], { cwd: ROOT });
  };
  process.once("exit", remove);
  try {
    await output("git", ["worktree", "add", "--detach", root, id.stdout.trim()], { cwd: ROOT });
    await prepare(root, say);
    return await use(root, id.stdout.trim());
  } finally {
    process.removeListener("exit", remove);
    remove();
  }
}

/** Dependencies are those of this checkout where the lock files are equal, else the commit's own. */
async function prepare(root, say) {
  const lock = (folder) => readFileSync(join(folder, "package-lock.json"), "utf8");
  if (lock(root) === lock(ROOT) && existsSync(join(ROOT, "node_modules"))) {
    symlinkSync(join(ROOT, "node_modules"), join(root, "node_modules"));
  } else {
    say("its package-lock.json differs: npm ci");
    await output("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: root });
  }
  await output(process.execPath, [join(root, "scripts", "build.mjs")], { cwd: root });
  rsdsBin(root);
}

/** Rounds are added until the ratio is known as well as this, as far as `EXTENSION` times as many. */
const HALF_WIDTH_MAX = 0.025;
const EXTENSION = 3;

/**
 * A case in both checkouts, at least `rounds` processes each: A B, B A, A B, … Answers the scheduler's CPU in µs a task
 * of each repeat, by process, their ratio and what the noise leaves open of it.
 */
export async function measureBoth(
  { args, repeat: settled },
  roots,
  { rounds, repeat = settled, seed, trace },
) {
  const costs = roots.map(() => []);
  let interval = null;
  for (let round = 0; round < rounds * EXTENSION; round++) {
    const order = round % 2 === 0 ? [0, 1] : [1, 0];
    for (const side of order) {
      const all = [...args, "--seed", seed, "--trace", trace, "--repeat", repeat];
      const { repeats } = await rsdsJson(all, { root: roots[side] });
      costs[side].push(repeats.map((one) => one.scheduler_cpu_us_per_task));
    }
    if (round + 1 < rounds) continue;
    interval = ratioInterval(costs[0], costs[1]);
    if (interval.high - interval.low <= 2 * HALF_WIDTH_MAX) break;
  }
  return { before: costs[0], after: costs[1], ...interval };
}

/**
 * "SLOWER": by more than `fail_above` per cent, and more than the noise leaves open. A smaller difference that is beyond
 * the noise is told in small letters.
 */
export function verdict({ ratio, low, high }, fail_above) {
  if (low > 1) return ratio > 1 + fail_above / 100 ? "SLOWER" : "slower";
  return high < 1 ? "faster" : "same";
}

export function renderAgainst(results, commit, fail_above) {
  const rows = [["µs CPU a task", commit.slice(0, 12), "this", "ratio", "95 % of chances", "pairs", ""]];
  for (const [name, both] of Object.entries(results)) {
    rows.push([
      name,
      round(median(both.before.flat())),
      round(median(both.after.flat())),
      both.ratio.toFixed(3),
      `${both.low.toFixed(3)} – ${both.high.toFixed(3)}`,
      String(both.before.length),
      verdict(both, fail_above),
    ]);
  }
  return `${renderTable(rows)}\n`;
}
