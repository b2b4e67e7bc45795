import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { ConfigError, collectConfig } from "../../src/config/collect.ts";
import { interpretValue } from "../../src/config/literal.ts";
import { type ConfigValue, lookUp } from "../../src/config/tree.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "rsds-config-"));
const PLACES = ["etc", "prefix/etc/dask", "home/.config/dask", "mine"].map((name) => join(folder, name));

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Of two spellings of one name, `-` and `_`, releases keep now the first and now the last. */
function oneSpelling(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name.replaceAll("_", "-"), oneSpelling(item)]),
  );
}

type Env = Record<string, string>;
type Files = Record<string, string>;

function write(files: Files): void {
  for (const place of PLACES) rmSync(place, { recursive: true, force: true });
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}

function collect(env: Env): unknown {
  const places = {
    DASK_ROOT_CONFIG: PLACES[0]!,
    HOME: join(folder, "home"),
    DASK_CONFIG: PLACES[3]!,
  };
  const config = collectConfig({ env: { ...env, ...places }, python_prefix: join(folder, "prefix") });
  // Where to look is itself a variable that counts.
  for (const name of ["root_config", "config"]) config.delete(name);
  return plain(config);
}

function plain(value: ConfigValue): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plain(item)]));
  return Array.isArray(value) ? value.map(plain) : value;
}

/** What Dask of one release collects from the same places and variables. */
function dasks(env: Env, release = "2026.8.0"): unknown {
  return dasksAll([env], release)[0];
}

function dasksAll(cases: readonly Env[], release: string): unknown[] {
  const python = join(ROOT, ".venvs", `dask-${release}`, "bin", "python");
  const input = JSON.stringify(cases.map((env) => ({ env, paths: PLACES })));
  const { stdout, stderr } = spawnSync(python, [join(ROOT, "test/config/dask_config.py")], {
    input,
    encoding: "utf8",
  });
  if (stdout === "") throw new Error(stderr);
  return (JSON.parse(stdout) as { config: unknown }[]).map(({ config }) => config);
}

const inherited = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

describe("collecting", () => {
  test.each(["2026.8.0", "2024.12.1"])("finds what Dask %s finds, in its order", (release) => {
    write({
      "etc/a.yaml": "distributed:\n  scheduler: {allowed-failures: 1, worker-ttl: 10s}\n  version: 2\n",
      "etc/b.json": '{"distributed": {"scheduler": {"allowed_failures": 2}}}',
      "etc/ignored.txt": "distributed: 5",
      "prefix/etc/dask/x.yml": "distributed:\n  comm:\n    timeouts: {connect: 5s}\n",
      "home/.config/dask/distributed.yaml": "# all commented out\n",
      "home/.config/dask/mine.yaml":
        "distributed: {scheduler: {blocked_handlers: [a, b], idle-timeout: yes}}\n",
      "mine/last.yaml":
        "distributed:\n  comm:\n    timeouts:\n      connect: 7 s\nworker-ttl: 3m\nx: {y: null}\n",
    });
    const env = {
      DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING: "False",
      DASK_DISTRIBUTED__COMM__TLS__CA_FILE: "/a/b.pem",
      DASK_X__Z: "[1, 'two', (3.5, None)]",
      DASK_INTERNAL_INHERIT_CONFIG: inherited({
        x: { z: 1, w: 2 },
        distributed: { scheduler: { "idle-timeout": "1h" } },
      }),
      OTHER: "1",
    };
    expect(oneSpelling(collect(env))).toEqual(oneSpelling(dasks(env, release)));
  });

  test("reads YAML as Python does", () => {
    write({
      "etc/a.yaml":
        "a: yes\nb: off\nc: 010\nd: 1_000\nf: 1.5e+3\ng: ~\nh: 0x1F\nj: 12:30\nk: 'no'\ny: n\nl: 5 minutes\n",
      "mine/b.yaml": "base: &b {x: 1, y: 2}\nmore:\n  <<: *b\n  y: 3\n",
    });
    expect(collect({})).toEqual(dasks({}));
    expect(collect({})).toMatchObject({ a: true, b: false, y: "n", more: { x: 1, y: 3 } });
  });

  test("may be one file, and needs no place to be there", () => {
    write({ mine: "a: 1\n" });
    expect(collect({})).toEqual({ a: 1 });
    write({});
    expect(collect({})).toEqual({});
  });

  test.each([
    ["a: [1, 2", /mine\/bad\.yaml is malformed/],
    ["- 1\n- 2\n", /mine\/bad\.yaml is malformed: it must have a dict/],
    [`a: &a [x]\n${aliases()}`, /mine\/bad\.yaml is malformed/],
  ])("refuses a malformed file in one line", (text, reason) => {
    write({ "mine/bad.yaml": text });
    expect(() => collect({})).toThrow(ConfigError);
    expect(() => collect({})).toThrow(reason);
    expect(message(() => collect({}))).not.toContain("\n");
  });

  test.each(["%%%", inherited([1]), "e30"])("refuses a malformed inheritance %s, or takes it", (text) => {
    write({});
    const run = (): unknown => collect({ DASK_INTERNAL_INHERIT_CONFIG: text });
    if (text === "e30") expect(run()).toMatchObject({});
    else expect(run).toThrow(/^DASK_INTERNAL_INHERIT_CONFIG is malformed/);
  });

  test("inherits what Python's JSON has beyond JSON, which Dask's defaults use", () => {
    const json = '{"a": Infinity, "b": [-Infinity, "Infinity, \\"NaN"], "c": NaN}';
    const text = Buffer.from(json).toString("base64url");
    const env = { DASK_CONFIG: PLACES[3]!, DASK_INTERNAL_INHERIT_CONFIG: text };
    const config = collectConfig({ env, python_prefix: null });
    const values = ["a", "b", "c"].map((name) => lookUp(config, name));
    expect(values).toEqual([Number.POSITIVE_INFINITY, [Number.NEGATIVE_INFINITY, 'Infinity, "NaN'], null]);
  });

  test("takes names for nothing else than names", () => {
    write({ "mine/a.yaml": "__proto__: {polluted: 1}\nconstructor: {prototype: {polluted: 1}}\n" });
    const config = collectConfig({ env: { DASK_CONFIG: PLACES[3]! }, python_prefix: null });
    expect(lookUp(config, "__proto__.polluted")).toBe(1);
    expect("polluted" in {}).toBe(false);
  });
});

/** Each line doubles the last: a document of a few bytes that would fill the memory. */
function aliases(): string {
  const names = [..."abcdefghijklmnopqrstuvwxyz"];
  return names
    .slice(1)
    .map((name, i) => `${name}: &${name} [${Array(9).fill(`*${names[i]}`).join(", ")}]`)
    .join("\n");
}

function message(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof Error ? error.message : "";
  }
  return "";
}

describe("the value of a variable", () => {
  const TEXTS = [
    "",
    "5",
    "-5",
    "+5",
    "007",
    "000",
    "1_000",
    "0x1f",
    "0b11",
    "1.5",
    ".5",
    "5.",
    "1e3",
    "True",
    "true",
    "FALSE",
    "None",
    "null",
    "Null",
    "yes",
    "5 minutes",
    "tcp://1.2.3.4:8786",
    "'quoted'",
    '"it\'s"',
    "'a\\nb\\x41\\u00e9\\''",
    "r'raw\\n'",
    "'open",
    "[]",
    "[1, 2,]",
    "[1 2]",
    "[,]",
    "(1)",
    "(1,)",
    "()",
    "1, 2",
    "1,",
    "{}",
    "{'a': 1, 'b': [True, None]}",
    "{'a': 1, 2}",
    "{1, 2}",
    "{'a'}",
    "[[[1]]]",
    "a.b.c",
    "nan",
    "inf",
    " 5",
    "5 ",
    "5 # five",
    "[1]]",
    "Trueish",
    "distributed.http.health",
  ];

  test("is what Dask makes of it", () => {
    write({});
    const all = dasksAll(
      TEXTS.map((text) => ({ DASK_X: text })),
      "2026.8.0",
    ) as { x: unknown }[];
    const ours = TEXTS.map((text) => [text, plain(interpretValue(text))]);
    // A comment in a value is the one thing that is not read as Python would: the text stands.
    const expected = TEXTS.map((text, i) => [text, text === "5 # five" ? text : all[i]!.x]);
    expect(ours).toEqual(expected);
  });

  test("may be nested without end", () => {
    const deep = "[".repeat(100_000);
    expect(interpretValue(deep)).toBe(deep);
  });
});
