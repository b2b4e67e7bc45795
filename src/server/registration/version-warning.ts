import { WireMap, type WireValue } from "../../protocol/values.ts";

/** Packages of the scheduler's Python that must fit those of clients and workers. */
const SCHEDULER_PACKAGES: ReadonlySet<string> = new Set([
  "dask",
  "distributed",
  "cloudpickle",
  "tornado",
  "toolz",
  "lz4",
  "python",
]);

/** What a peer reports where it is asked for its versions; null: nothing. */
type Packages = ReadonlyMap<string, string | null>;

/** The distinct sets of packages that registered workers have: mostly one. */
export class WorkerSoftware {
  readonly #counts = new Map<string, { readonly packages: Packages; workers: number }>();

  get packages(): Packages[] {
    return [...this.#counts.values()].map((entry) => entry.packages);
  }

  add(versions: WireValue): void {
    const packages = comparable(versions);
    if (packages === null) return;
    const known = this.#counts.get(idOf(packages));
    if (known === undefined) this.#counts.set(idOf(packages), { packages, workers: 1 });
    else known.workers++;
  }

  remove(versions: WireValue): void {
    const packages = comparable(versions);
    if (packages === null) return;
    const known = this.#counts.get(idOf(packages));
    if (known !== undefined && --known.workers === 0) this.#counts.delete(idOf(packages));
  }
}

function idOf(packages: Packages): string {
  return JSON.stringify([...packages].sort());
}

/** Null: a zero worker, which has no Python: what it says is nothing to compare. */
function comparable(versions: WireValue): Packages | null {
  const packages = packagesOf(versions);
  return packages === null || (packages.get("python") ?? null) === null ? null : packages;
}

/**
 * The warning of Dask's `distributed.versions.error_message` for a peer whose packages differ from those of the others;
 * "": there is nothing to warn of. `scheduler` null: its Python has not started yet, and is left out.
 */
export function versionWarning(
  source: { readonly name: string; readonly versions: WireValue },
  scheduler: Packages | null,
  workers: Iterable<Packages>,
): string {
  const own = packagesOf(source.versions);
  if (own === null) return "";
  const others = [...workers];
  const names = new Set([...own.keys(), ...(scheduler?.keys() ?? [])]);
  for (const packages of others) for (const name of packages.keys()) names.add(name);
  const rows: string[][] = [];
  for (const name of [...names].sort()) {
    const source_version = textOf(own, name);
    const scheduler_version = scheduler === null ? "UNKNOWN" : textOf(scheduler, name);
    const worker_versions = new Set(others.map((packages) => textOf(packages, name)));
    const versions = new Set([source_version, ...worker_versions]);
    if (scheduler !== null && SCHEDULER_PACKAGES.has(name)) versions.add(scheduler_version);
    if (versions.size > 1) rows.push([name, source_version, scheduler_version, shown([...worker_versions])]);
  }
  if (rows.length === 0) return "";
  return `Mismatched versions found\n\n${table(["Package", source.name, "Scheduler", "Workers"], rows)}`;
}

function packagesOf(versions: WireValue): Packages | null {
  const packages = versions instanceof WireMap ? versions.get("packages") : null;
  // 2022 sends a list of pairs.
  const pairs =
    packages instanceof WireMap
      ? packages.keys.map((key, i) => [key, packages.values[i]!] as const)
      : Array.isArray(packages)
        ? packages.map(
            (pair) =>
              (Array.isArray(pair) ? [pair[0] ?? null, pair[1] ?? null] : [null, null]) as [
                WireValue,
                WireValue,
              ],
          )
        : null;
  if (pairs === null) return null;
  return new Map(
    pairs.map(([name, version]) => [String(name), version === null ? null : String(version)] as const),
  );
}

function textOf(packages: Packages, name: string): string {
  const version = packages.get(name);
  return version === undefined ? "MISSING" : (version ?? "None");
}

/** One version, none, or a set as Python shows it. */
function shown(versions: readonly string[]): string {
  if (versions.length === 0) return "None";
  if (versions.length === 1) return versions[0]!;
  return `{${versions.map((version) => `'${version}'`).join(", ")}}`;
}

function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]): string =>
    `|${cells.map((cell, i) => ` ${cell.padEnd(widths[i]!)} |`).join("")}`;
  const bar = `+${widths.map((width) => "-".repeat(width + 2)).join("+")}+`;
  return [bar, line(columns), bar, ...rows.map(line), bar].join("\n");
}
