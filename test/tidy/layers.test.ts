import { describe, expect, test } from "vitest";
import { importsOf, type Source, sourcesOf } from "./sources.ts";

/** What each layer may import, besides itself: docs/ARCHITECTURE.md says what each is. */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  "src/base": [],
  "src/trace": ["src/base"],
  "src/protocol": ["src/base"],
  "src/ordering": ["src/base"],
  "src/schedulers": ["src/base"],
  "src/core": ["src/base", "src/schedulers", "src/trace"],
  "src/comm": ["src/base", "src/trace", "src/protocol"],
  "src/unpacker": ["src/base", "src/trace", "src/protocol"],
  "src/server": [
    "src/base",
    "src/trace",
    "src/protocol",
    "src/ordering",
    "src/schedulers",
    "src/core",
    "src/comm",
    "src/unpacker",
  ],
  "src/config": ["src/base", "src/server"],
  "src/dashboard": ["src/protocol", "src/server"],
  "src/results": ["src/base", "src/trace"],
  "src/cli": [
    "src/base",
    "src/trace",
    "src/schedulers",
    "src/core",
    "src/server",
    "src/config",
    "src/dashboard",
    "src/results",
    "simulator",
  ],
  simulator: [
    "src/base",
    "src/trace",
    "src/protocol",
    "src/ordering",
    "src/schedulers",
    "src/core",
    "src/comm",
    "src/unpacker",
    "src/server",
    "src/results",
  ],
};

const PURE = ["src/base", "src/protocol", "src/ordering", "src/schedulers", "src/core"];

/** What a layer that decides may not touch: the time, chance and the world come to it from outside. */
const IMPURE =
  /\b(?:Date\.now|new Date|Math\.random|performance\.|process\.|setTimeout|setInterval|setImmediate|queueMicrotask|fetch\()/;

const sources = [...sourcesOf("src", [".ts"]), ...sourcesOf("simulator", [".ts"])];

function layerOf(path: string): string {
  const [top = "", second = ""] = path.split("/");
  return top === "src" ? `${top}/${second}` : top;
}

/** Code without its comments, which may name what they forbid. */
function codeOf({ text }: Source): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

describe("layers", () => {
  test("are all known", () => {
    const unknown = new Set(sources.map(({ path }) => layerOf(path)).filter((layer) => !(layer in LAYERS)));
    expect([...unknown]).toEqual([]);
  });

  test("import downwards only", () => {
    const upwards: string[] = [];
    for (const source of sources) {
      const layer = layerOf(source.path);
      for (const target of importsOf(source)) {
        if (!target.startsWith("src/") && !target.startsWith("simulator/")) continue;
        const other = layerOf(target);
        if (other !== layer && !LAYERS[layer]!.includes(other)) upwards.push(`${source.path} -> ${target}`);
      }
    }
    expect(upwards).toEqual([]);
  });

  test("that decide read no clock, draw no lots and open nothing", () => {
    const pure = sources.filter(({ path }) => PURE.includes(layerOf(path)));
    expect(pure.length).toBeGreaterThan(PURE.length);
    const impure = pure.flatMap((source) => [
      ...(IMPURE.test(codeOf(source)) ? [`${source.path}: ${IMPURE.exec(codeOf(source))?.[0]}`] : []),
      ...importsOf(source)
        .filter((name) => name.startsWith("node:") && name !== "node:buffer")
        .map((name) => `${source.path}: ${name}`),
    ]);
    expect(impure).toEqual([]);
  });

  test("below the command line load the simulator nowhere, and the command line only when asked to", () => {
    const loads = sources.filter(
      (source) =>
        source.path.startsWith("src/") && importsOf(source).some((path) => path.startsWith("simulator/")),
    );
    for (const { path, text } of loads) {
      expect(path).toMatch(/^src\/cli\//);
      expect(text).not.toMatch(/^import (?!type\b)[^;]*from "[^"]*\/simulator\//m);
    }
  });
});
