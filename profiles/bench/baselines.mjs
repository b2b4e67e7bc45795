// Committed results, one file for each kind of machine, that later ones are compared with.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT } from "./processes.mjs";
import { median, noise } from "./statistics.mjs";

const FOLDER = fileURLToPath(new URL("../baselines/", import.meta.url));

/** What figures depend on; of no interest to anybody is which machine of the kind it was. */
export function machineFacts() {
  return {
    cpu: os.cpus()[0]?.model.trim() ?? "unknown",
    cores: os.availableParallelism(),
    memory_bytes: os.totalmem(),
    os: `${os.type()} ${os.arch()}`,
    node: process.version,
  };
}

/** The same, as a table's first line. */
export function machineLine() {
  const { cpu, cores, os: system, node } = machineFacts();
  return `${cpu}, ${cores} cores, ${system}, Node ${node}`;
}

/** Machines of one kind: the same processor and number of cores, the same major version of Node. */
export function baselinePath(machine = machineFacts(), folder = FOLDER) {
  const kind = `${machine.cpu} ${machine.cores} cores ${machine.os} node ${machine.node.split(".")[0]}`;
  return join(folder, `${kind.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-")}.json`);
}

/** null where there is none for machines of this kind. */
export function readBaseline(path = baselinePath()) {
  if (!existsSync(path)) return null;
  const document = JSON.parse(readFileSync(path, "utf8"));
  if (document.schema !== "rsds.bench/1") throw new Error(`${relative(ROOT, path)} is not of rsds.bench/1`);
  return document;
}

/** Cases that were not measured this time keep what the file had of them. */
export function saveBaseline(document, path = baselinePath()) {
  const cases = { ...readBaseline(path)?.cases, ...document.cases };
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify({ ...document, cases }, null, 1)}\n`);
  return relative(ROOT, path);
}

/** Cases that cost more than `per_cent` more than in the baseline, and more than the repeats of both leave open. */
export function slowerThanBaseline(results, baseline, per_cent) {
  return Object.entries(results).flatMap(([name, { cpu_us }]) => {
    const before = baseline.cases[name]?.cpu_us;
    if (before === undefined) return [];
    const ratio = median(cpu_us) / median(before);
    const open = Math.hypot(noise(cpu_us), noise(before));
    return ratio - 1 > per_cent / 100 && ratio - 1 > open ? [{ case: name, ratio }] : [];
  });
}
