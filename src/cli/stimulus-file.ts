import { closeSync, openSync, writeSync } from "node:fs";
import { gzipSync } from "node:zlib";
import type { Effect, Stimulus } from "../core/stimuli.ts";
import type { StimulusHeader } from "../core/stimulus-header.ts";
import { StartError } from "./errors.ts";
import { oneLine } from "./result-place.ts";

/** So much is compressed at once. */
const BLOCK_CHARS = 1 << 18;
/** What has not filled a block is written after so long: a process that dies loses no more. */
const FLUSH_MS = 1_000;

/**
 * A log of stimuli: gzip of JSON lines, a header and then a line for each stimulus, `[stimulus, effects]` or `[stimulus]`
 * where there are none. Written while the scheduler runs, in whole gzip members: what is there can be read at any time.
 */
export class StimulusFile {
  readonly #path: string;
  readonly #warn: (text: string) => void;
  readonly #timer: NodeJS.Timeout;
  readonly #atExit = (): void => this.close();
  /** null: closed, or nothing more can be written. */
  #file: number | null;
  #block: string;

  /** Throws {@link StartError} where there can be no such file. */
  constructor(path: string, header: StimulusHeader, warn: (text: string) => void) {
    this.#path = path;
    this.#warn = warn;
    try {
      this.#file = openSync(path, "w");
    } catch (error) {
      throw new StartError(`cannot write to ${path} (${oneLine(error)}): give another --stimulus-log FILE`);
    }
    this.#block = `${JSON.stringify(header)}\n`;
    this.#timer = setInterval(() => this.#flush(), FLUSH_MS);
    this.#timer.unref();
    // A bug may end the process from within a turn.
    process.once("exit", this.#atExit);
  }

  write(stimulus: Stimulus, effects: readonly Effect[]): void {
    if (this.#file === null) return;
    this.#block += `${JSON.stringify(effects.length === 0 ? [stimulus] : [stimulus, effects])}\n`;
    if (this.#block.length >= BLOCK_CHARS) this.#flush();
  }

  close(): void {
    this.#flush();
    this.#end();
  }

  /** At once, and not by and by: a scheduler that is faster than its disk must not keep what the disk has not taken. */
  #flush(): void {
    if (this.#file === null || this.#block === "") return;
    const bytes = gzipSync(this.#block);
    this.#block = "";
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#file, bytes, at);
    } catch (error) {
      this.#warn(`The log of stimuli ends here, ${this.#path} takes no more: ${oneLine(error)}`);
      this.#end();
    }
  }

  #end(): void {
    if (this.#file === null) return;
    clearInterval(this.#timer);
    process.removeListener("exit", this.#atExit);
    closeSync(this.#file);
    this.#file = null;
  }
}
