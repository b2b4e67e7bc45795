import { readFileSync } from "node:fs";

/** What manifest.json tells of one recorded message. */
export interface Golden {
  readonly name: string;
  readonly version: string;
  readonly ops: readonly string[];
  readonly flow: "sched->peer" | "peer->sched";
  readonly kind: string;
  readonly nframes: number;
  readonly lens: readonly number[];
}

const folder = new URL("./golden/", import.meta.url);

export const GOLDENS: readonly Golden[] = JSON.parse(readFileSync(new URL("manifest.json", folder), "utf8"));

/** The message as it stood on the wire. */
export function goldenBytes(golden: Golden): Buffer {
  return readFileSync(new URL(`${golden.name}.bin`, folder));
}
