import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");

/** A source file: its path from the root of the repository, with slashes, and its text. */
export interface Source {
  readonly path: string;
  readonly text: string;
}

/** All files below `folder` whose names end in one of `endings`, generated and installed ones left out. */
export function sourcesOf(folder: string, endings: readonly string[]): Source[] {
  const sources: Source[] = [];
  const walk = (directory: string): void => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) {
        if (!SKIPPED.has(entry.name)) walk(path);
      } else if (endings.some((ending) => entry.name.endsWith(ending)))
        sources.push({
          path: relative(ROOT, path).replaceAll("\\", "/"),
          text: readFileSync(path, "utf8"),
        });
    }
  };
  walk(join(ROOT, folder));
  return sources;
}

const SKIPPED = new Set(["node_modules", "dist", "golden", "__pycache__", ".venvs"]);

export function readText(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

/** What a file imports: paths from the root for its own, names such as `node:net` for others. */
export function importsOf({ path, text }: Source): string[] {
  const found: string[] = [];
  for (const match of text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"([^"]+)"/g)) {
    const name = match[1]!;
    found.push(name.startsWith(".") ? normalize(join(dirname(path), name)).replaceAll("\\", "/") : name);
  }
  return found;
}
