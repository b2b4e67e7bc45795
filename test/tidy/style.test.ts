import { expect, test } from "vitest";
import { sourcesOf } from "./sources.ts";

const LINES_MAX = 600;
const ENDINGS = [".ts", ".mjs", ".js", ".py", ".json"];
const sources = ["src", "simulator", "test", "scripts", "python"].flatMap((folder) =>
  sourcesOf(folder, ENDINGS),
);
/** Put together here, so that this file does not find itself. */
const LEFT_OVER = new RegExp(`\\b(?:${["TO" + "DO", "FIX" + "ME", "XX" + "X"].join("|")})\\b`);
const SWITCHED_OFF = new RegExp(
  `\\b(?:test|it|describe)(?:\\.\\w+)*\\.(?:${"sk" + "ip|on" + "ly|to" + "do|skipIf"})\\b`,
);

test("no source file has more than 600 lines", () => {
  const long = sources
    .filter(({ path }) => !path.endsWith(".json"))
    .filter(({ text }) => text.split("\n").length - 1 > LINES_MAX)
    .map(({ path }) => path);
  expect(long).toEqual([]);
});

test("no test is switched off", () => {
  const off = sources.filter(({ path, text }) => path.startsWith("test/") && SWITCHED_OFF.test(text));
  expect(off.map(({ path }) => path)).toEqual([]);
});

test("nothing is left over to be done later", () => {
  const left = sources.filter(({ text }) => LEFT_OVER.test(text));
  expect(left.map(({ path }) => path)).toEqual([]);
});

test("files are named in kebab-case", () => {
  const odd = sources.filter(
    ({ path }) => /\.(ts|mjs)$/.test(path) && !/\/[a-z0-9-]+(\.test|\.d)?\.(ts|mjs)$/.test(path),
  );
  expect(odd.map(({ path }) => path)).toEqual([]);
});
