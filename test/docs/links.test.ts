import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { servedOperations } from "../server/support/served-operations.ts";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");
const PAGES = [
  "README.md",
  "CHANGELOG.md",
  "notebooks/README.md",
  "profiles/README.md",
  "python/README.md",
  ...markdownBelow("docs"),
];
/** A path as prose names it: from the repository's root, into a folder that we have. */
const NAMED_PATH = /^(?:src|simulator|test|docs|profiles|notebooks|python|scripts)\/[\w./-]+$/;

function markdownBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return markdownBelow(path);
    return entry.name.endsWith(".md") ? [path] : [];
  });
}

/** A page without its code blocks, whose brackets are not links. */
function proseOf(page: string): string {
  return readFileSync(join(ROOT, page), "utf8").replace(/^```[\s\S]*?^```/gm, "");
}

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, title] of proseOf(page).matchAll(/^#+ (.*)$/gm)) {
    const words = title!.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "");
    anchors.add(words.replaceAll(" ", "-"));
  }
  return anchors;
}

/** Null, or why the link leads nowhere. */
function fault(page: string, target: string): string | null {
  if (/^[a-z]+:/.test(target)) return null;
  const [path = "", anchor] = target.split("#");
  const file = path === "" ? page : relative(ROOT, join(ROOT, dirname(page), path));
  const full = join(ROOT, file);
  if (file.startsWith("..") || !existsSync(full)) return `${page}: ${target} does not exist`;
  if (anchor === undefined) return null;
  if (!statSync(full).isFile() || !anchorsOf(file).has(anchor)) return `${page}: ${target} is no heading`;
  return null;
}

describe("the documents", () => {
  test("are found", () => {
    expect(PAGES).toContain("docs/ARCHITECTURE.md");
    expect(PAGES.filter((page) => page.startsWith("docs/decisions/")).length).toBeGreaterThan(5);
  });

  test("link to files and headings that exist", () => {
    const faults: (string | null)[] = [];
    for (const page of PAGES)
      for (const [, target] of proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)) faults.push(fault(page, target!));
    expect(faults.length).toBeGreaterThan(50);
    expect(faults.filter((text) => text !== null)).toEqual([]);
  });

  test("name files that exist", () => {
    const missing: string[] = [];
    for (const page of PAGES)
      for (const [, name] of proseOf(page).matchAll(/`([^`\n]+)`/g))
        if (NAMED_PATH.test(name!) && !existsSync(join(ROOT, name!))) missing.push(`${page}: ${name}`);
    expect(missing).toEqual([]);
  });
});

describe("the layer table of ARCHITECTURE.md", () => {
  /** `src/core` → the layers that it imports, from a list of names such as `"src/base", "src/trace"`. */
  function enforced(): Map<string, string[]> {
    const text = readFileSync(join(ROOT, "test/tidy/layers.test.ts"), "utf8");
    const table = /const LAYERS[^=]*= \{([\s\S]*?)\n\};/.exec(text)![1]!;
    const rows = new Map<string, string[]>();
    for (const [, layer, list] of table.matchAll(/^ {2}"?([\w/]+)"?: \[([^\]]*)\]/gm))
      rows.set(
        layer!,
        [...list!.matchAll(/"([^"]+)"/g)].map(([, name]) => name!.replace("src/", "")),
      );
    return rows;
  }

  function documented(): Map<string, string[]> {
    const rows = new Map<string, string[]>();
    for (const [, layer, cells] of proseOf("docs/ARCHITECTURE.md").matchAll(/^\| \[([\w/]+)\]\((.*)\|$/gm)) {
      const imports = cells!.split("|").at(-1)!;
      rows.set(
        layer!,
        imports.match(
          /\b(?:base|trace|protocol|ordering|schedulers|core|comm|unpacker|server|dashboard|config|results|simulator)\b/g,
        ) ?? [],
      );
    }
    return rows;
  }

  test("says what the layers' test enforces", () => {
    const rules = enforced();
    expect(rules.size).toBeGreaterThan(10);
    const sorted = (rows: Map<string, string[]>): Record<string, string[]> =>
      Object.fromEntries([...rows].sort().map(([layer, imports]) => [layer, [...imports].sort()]));
    expect(sorted(documented())).toEqual(sorted(rules));
  });
});

test("protocol.md lists the requests that are served", () => {
  const lines = proseOf("docs/protocol.md")
    .match(/^> .*$/gm)!
    .join(" ");
  const listed = [...lines.matchAll(/`([\w-]+)`/g)].map(([, op]) => op);
  expect(listed).toEqual(servedOperations());
});
