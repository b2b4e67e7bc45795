// Reads latency.hlog with Java's HdrHistogram, the reference, and holds its counts and percentiles against summary.json:
//   npm run check:java [-- DIR]        (default: the committed result of notebooks/data)
// The library comes from Maven Central by Maven, or is taken from the cache (.cache/, ignored by git) of an earlier time.
// Two versions, since they differ in one rule: which sample the p-th percentile of n is. Up to 2.1.9, as in the libraries
// for Python and JavaScript and so in the summary, it is the one whose rank is nearest to p·n; from 2.1.10 on the next
// above. So the old one must say exactly what the summary says; the new one, asked for the same ranks, too.
// Without Java it says so and passes: a machine needs none for anything else.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const VERSIONS = [
  // It needs a class that Java itself has no more since its version 11.
  { version: "2.1.9", artifacts: [hdr("2.1.9"), "javax.xml.bind:jaxb-api:2.3.1"], same_rule: true },
  { version: "2.2.2", artifacts: [hdr("2.2.2")], same_rule: false },
];
const cache = join(root, ".cache", "java");

function hdr(version) {
  return `org.hdrhistogram:HdrHistogram:${version}`;
}

/** Ends this script with a sentence of what went wrong. */
function fail(message) {
  console.error(`check:java: ${message}`);
  process.exit(1);
}

function passWithout(what) {
  console.log(`check:java: ${what}: latency.hlog is not held against Java's HdrHistogram here`);
  process.exit(0);
}

function starts(command) {
  return spawnSync(command, ["-version"], { stdio: "ignore" }).status === 0;
}

/** Answers the path of an artifact's jar in the cache. */
function fetchJar(artifact) {
  const [, name, version] = artifact.split(":");
  const jar = join(cache, `${name}-${version}.jar`);
  if (existsSync(jar)) return jar;
  if (!starts("mvn")) passWithout("there is no Maven (mvn) to fetch HdrHistogram with");
  mkdirSync(cache, { recursive: true });
  const copy = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy";
  const parameters = [`-Dartifact=${artifact}:jar`, `-DoutputDirectory=${cache}`];
  const fetched = spawnSync("mvn", ["--batch-mode", "--quiet", copy, ...parameters], {
    cwd: cache,
    encoding: "utf8",
  });
  if (fetched.status !== 0 || !existsSync(jar))
    fail(`Maven did not bring ${artifact}: ${`${fetched.stdout}${fetched.stderr}`.trim().split("\n")[0]}`);
  return jar;
}

/** What Java reads: by tag the figures of ReadHlog.java, in nanoseconds but for the count. */
function readByJava(path, jars) {
  const classes = mkdtempSync(join(tmpdir(), "rsds-java-"));
  try {
    const source = join(root, "scripts", "ReadHlog.java");
    const compiled = spawnSync("javac", ["-cp", jars.join(delimiter), "-d", classes, source], {
      encoding: "utf8",
    });
    if (compiled.status !== 0) fail(`javac: ${compiled.stderr.trim()}`);
    const read = spawnSync("java", ["-cp", [...jars, classes].join(delimiter), "ReadHlog", path], {
      encoding: "utf8",
    });
    if (read.status !== 0) fail(`ReadHlog ${path}: ${read.stderr.trim()}`);
    const rows = read.stdout.trim().split("\n");
    return new Map(
      rows.map((row) => {
        const [tag, ...figures] = row.split(" ");
        return [tag, figures.map(Number)];
      }),
    );
  } finally {
    rmSync(classes, { recursive: true, force: true });
  }
}

/** What the summary says of the same: by tag the same figures, in microseconds but for the count. */
function expected({ phases = [], hops = [] }) {
  const figures = (row) => [row.count, row.p50_us, row.p90_us, row.p99_us, row.p999_us, row.max_us];
  const rows = [
    ...phases.map((row) => [row.parent === null ? row.phase : `${row.parent}.${row.phase}`, figures(row)]),
    ...hops.map((row) => [`hop.${row.hop.replace("→", "-")}`, figures(row)]),
  ];
  return rows.filter(([, [count]]) => count > 0);
}

const folder = process.argv[2] ?? join(root, "notebooks", "data");
const file = (name) => join(folder, name);
for (const name of ["summary.json", "latency.hlog"])
  if (!existsSync(file(name))) fail(`${file(name)} is not there: name a result folder`);
if (!starts("java") || !starts("javac")) passWithout("there is no Java (java and javac)");
const rows = expected(JSON.parse(readFileSync(file("summary.json"), "utf8")));
if (rows.length === 0) fail(`${file("summary.json")} has no histograms: it was run with --trace off`);
for (const { version, artifacts, same_rule } of VERSIONS) {
  const read = readByJava(file("latency.hlog"), artifacts.map(fetchJar));
  let elsewhere = 0;
  const different = rows.filter(([tag, [count, ...values]]) => {
    const [their_count, ...figures] = read.get(tag) ?? [];
    const differing = (from) => values.filter((us, i) => figures[from + i] / 1e3 !== us).length;
    const by_their_rule = differing(0);
    elsewhere += by_their_rule;
    return their_count !== count || differing(values.length) > 0 || (same_rule && by_their_rule > 0);
  });
  for (const [tag, figures] of different)
    console.error(
      `${tag}: the summary says ${figures.join(" ")}, Java reads ${read.get(tag)?.join(" ")} (ns)`,
    );
  if (different.length > 0)
    fail(`HdrHistogram ${version}: ${different.length} of ${rows.length} histograms differ`);
  const remark = same_rule ? "" : `; by its own rule ${elsewhere} percentiles are those of the next sample`;
  console.log(
    `check:java: HdrHistogram ${version} reads ${rows.length} histograms with the summary's counts and percentiles${remark}`,
  );
}
