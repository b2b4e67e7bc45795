import { accessSync, constants, mkdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

/** Where results go if nobody says otherwise. */
export const RESULTS = "rsds-results";

/** `rsds-results/<utc time>-<name>`. */
export function defaultPlace(name: string): string {
  return join(RESULTS, `${fileTime(new Date())}-${name}`);
}

/** UTC to the second, without the colons that some file systems refuse. */
export function fileTime(at: Date): string {
  return at
    .toISOString()
    .replace(/\.\d+Z$/, "Z")
    .replaceAll(":", "");
}

/** Makes the folder; called before the measuring too, which may take hours. Throws an error of one line. */
export function makeWritable(folder: string): void {
  try {
    makeFolder(folder);
    accessSync(folder, constants.W_OK);
  } catch (error) {
    throw new Error(
      `cannot write to ${folder}: ${oneLine(error)}; choose another folder by --out or make it writable`,
    );
  }
}

/** Level by level: Node's recursive mkdir never returns where the system makes no folders, as below /proc. */
export function makeFolder(folder: string): void {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return;
  const parent = dirname(folder);
  if (parent !== folder) makeFolder(parent);
  mkdirSync(folder);
}

/** What an error says, on one line. */
export function oneLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replaceAll("\n", " ");
}
