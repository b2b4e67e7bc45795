import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { decode, encode } from "@msgpack/msgpack";
import {
  type GraphStructure,
  type SpecChunk,
  specFrames,
  type UnpackError,
  type UnpackRequest,
} from "../../../src/unpacker/graph.ts";
import type { UnpackerPool } from "../../../src/unpacker/unpacker.ts";

export const RELEASES = ["2026.8.0", "2024.12.1"] as const;

const SCRIPT = fileURLToPath(new URL("./graphs.py", import.meta.url));

export function pythonOf(release: string): string {
  return fileURLToPath(new URL(`../../../.venvs/dask-${release}/bin/python`, import.meta.url));
}

/** A message made by a real client, and what Dask's own scheduler makes of it. */
export interface Case extends UnpackRequest {
  readonly name: string;
  /** msgpack of [[key, [dependency, …]], …]. */
  readonly tasks: Uint8Array;
  /** The key's msgpack in hex -> the names of its annotations. */
  readonly task_annotations: Readonly<Record<string, readonly string[]>>;
  readonly values: Readonly<Record<string, string>> | null;
}

export function makeCases(release: string): Map<string, Case> {
  const folder = mkdtempSync(join(tmpdir(), "rsds-unpacker-"));
  try {
    const path = join(folder, "cases.bin");
    execFileSync(pythonOf(release), [SCRIPT, "make", path], { stdio: ["ignore", "ignore", "pipe"] });
    const cases = decode(readFileSync(path)) as Case[];
    return new Map(cases.map((one) => [one.name, one]));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export interface Unpacked {
  readonly structure: GraphStructure;
  readonly chunks: SpecChunk[];
  readonly order: Uint32Array | null;
}

/** The whole way of one request; rejects with its UnpackError. */
export function unpack(
  pool: UnpackerPool,
  request: UnpackRequest,
  orderOf: (structure: GraphStructure) => Uint32Array | null = () => null,
): Promise<Unpacked> {
  return new Promise((resolve, reject: (error: UnpackError) => void) => {
    let structure: GraphStructure | null = null;
    let order: Uint32Array | null = null;
    const chunks: SpecChunk[] = [];
    pool.unpack(request, {
      onStructure: (given, request_id) => {
        structure = given;
        order = orderOf(given);
        pool.sendOrder(request_id, order);
      },
      onSpecs: (chunk) => chunks.push(chunk),
      onDone: () => (structure === null ? undefined : resolve({ structure, chunks, order })),
      onError: reject,
    });
  });
}

export function keyBytes(structure: GraphStructure, i: number): Uint8Array {
  const { task_count, keys, key_offsets, external_keys, external_offsets } = structure;
  if (i < task_count) return keys.subarray(key_offsets[i], key_offsets[i + 1]);
  return external_keys.subarray(external_offsets[i - task_count], external_offsets[i - task_count + 1]);
}

/** Specs by task number, whatever order they came in. */
function specsByTask({ structure, chunks, order }: Unpacked): Uint8Array[][] {
  const specs: Uint8Array[][] = new Array(structure.task_count);
  for (const chunk of chunks)
    for (let i = 0; i < chunk.count; i++)
      specs[order?.[chunk.first + i] ?? chunk.first + i] = specFrames(chunk, i);
  return specs;
}

/** Runs the graphs from their unpacked specs in a fresh Python; answers with what it printed. */
export function check(release: string, results: readonly { given: Case; unpacked: Unpacked }[]): string {
  const folder = mkdtempSync(join(tmpdir(), "rsds-unpacker-"));
  try {
    const path = join(folder, "results.bin");
    const packed = results.map(({ given, unpacked }) => ({
      name: given.name,
      wanted: given.keys,
      values: given.values,
      keys: Array.from({ length: unpacked.structure.task_count }, (_, i) => keyBytes(unpacked.structure, i)),
      specs: specsByTask(unpacked),
    }));
    writeFileSync(path, encode(packed));
    return execFileSync(pythonOf(release), [SCRIPT, "check", path], { encoding: "utf8" });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
