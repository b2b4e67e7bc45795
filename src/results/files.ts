import { createWriteStream } from "node:fs";
import { copyFile, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";

/** Pieces are joined to blocks of about this much before they are compressed. */
const BLOCK_CHARS = 1 << 16;

/**
 * A folder of results. Each file is written under another name and renamed, so that whoever looks, or presses
 * Ctrl-C, finds whole files only; `summary.json` comes last and names the others.
 */
export class ResultFolder {
  readonly #path: string;
  readonly #files: string[] = [];

  private constructor(path: string) {
    this.#path = path;
  }

  /** Makes the folder. What an earlier summary in it lists is removed: it would belong to another run. */
  static async create(path: string): Promise<ResultFolder> {
    await mkdir(path, { recursive: true });
    const names = await listedFiles(join(path, "summary.json"));
    await Promise.all(names.map((name) => rm(join(path, name), { force: true })));
    return new ResultFolder(path);
  }

  /** Names of the files so far. */
  get files(): readonly string[] {
    return this.#files;
  }

  async write(name: string, text: string): Promise<void> {
    await this.#replace(name, (path) => writeFile(path, text));
  }

  /** A file that was written elsewhere. */
  async copy(name: string, from: string): Promise<void> {
    await this.#replace(name, (path) => copyFile(from, path));
  }

  async writeGzip(name: string, pieces: Iterable<string>): Promise<void> {
    await this.#replace(name, (path) =>
      pipeline(Readable.from(blocks(pieces)), createGzip(), createWriteStream(path)),
    );
  }

  async #replace(name: string, write: (path: string) => Promise<void>): Promise<void> {
    const path = join(this.#path, name);
    const unfinished = join(this.#path, `.${name}.${process.pid}`);
    try {
      await write(unfinished);
      await rename(unfinished, path);
    } catch (error) {
      await rm(unfinished, { force: true });
      throw error;
    }
    this.#files.push(name);
  }
}

function* blocks(pieces: Iterable<string>): Generator<string> {
  let block = "";
  for (const piece of pieces) {
    block += piece;
    if (block.length < BLOCK_CHARS) continue;
    yield block;
    block = "";
  }
  if (block !== "") yield block;
}

/** Plain names only: a document from elsewhere must not make us remove a file outside the folder. */
const PLAIN_NAME = /^[A-Za-z0-9_:-][A-Za-z0-9_.:-]*$/;

async function listedFiles(path: string): Promise<string[]> {
  let document: { schema?: unknown; files?: unknown };
  try {
    document = JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    // No summary, or none that we wrote: nothing to clear away.
    if (error instanceof SyntaxError) return [];
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
  if (typeof document?.schema !== "string" || !document.schema.startsWith("rsds.")) return [];
  if (!Array.isArray(document.files)) return [];
  return document.files.filter((name) => typeof name === "string" && PLAIN_NAME.test(name));
}
