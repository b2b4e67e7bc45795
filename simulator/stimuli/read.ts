import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { createGunzip } from "node:zlib";
import type { Effect, Stimulus } from "../../src/core/stimuli.ts";
import type { StimulusHeader } from "../../src/core/stimulus-header.ts";
import { POLICY_NAMES } from "../../src/schedulers/index.ts";

/** No log of stimuli, or one that cannot be replayed here. The message is one line for the user. */
export class StimulusLogError extends Error {
  override readonly name = "StimulusLogError";
}

export type StimulusLine = readonly [Stimulus, readonly Effect[]];

/**
 * Reads a log that `rsds scheduler --stimulus-log` wrote, its header first. One whose scheduler is still running, or was
 * killed, ends in its midst: what is whole of it counts. Throws {@link StimulusLogError}.
 */
export async function* readStimuli(path: string): AsyncGenerator<StimulusHeader | StimulusLine> {
  const file = createReadStream(path);
  const unzipped = createGunzip();
  // An error of the file's is one of the stream that is read.
  file.on("error", (error) => unzipped.destroy(error)).pipe(unzipped);
  let line = 0;
  try {
    for await (const text of createInterface({ input: unzipped, crlfDelay: Number.POSITIVE_INFINITY })) {
      line++;
      yield line === 1
        ? headerOf(parsed(text, path, line), path)
        : lineOf(parsed(text, path, line), path, line);
    }
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    if (error.code === "ENOENT")
      throw new StimulusLogError(`no file ${path}: give a log that rsds scheduler --stimulus-log wrote`);
    // The last member of one that was cut off.
    if (error.code !== "Z_BUF_ERROR")
      throw new StimulusLogError(`cannot read ${path}: ${error.message}: is it a log of stimuli?`);
  } finally {
    file.destroy();
  }
  if (line === 0) throw new StimulusLogError(`${path} is empty: a log of stimuli starts with a header line`);
}

function parsed(text: string, path: string, line: number): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new StimulusLogError(`${path}, line ${line}: not JSON`);
  }
}

function headerOf(value: unknown, path: string): StimulusHeader {
  const schema = typeof value === "object" && value !== null && "schema" in value ? value.schema : undefined;
  if (schema !== "rsds.stimuli/1")
    throw new StimulusLogError(
      `${path}, line 1: its schema is ${JSON.stringify(schema) ?? "missing"}, not "rsds.stimuli/1": give a log that rsds scheduler --stimulus-log wrote`,
    );
  const header = value as StimulusHeader;
  if (!POLICY_NAMES.includes(header.scheduler))
    throw new StimulusLogError(`${path}: its policy '${header.scheduler}' is not to be had here`);
  return header;
}

function lineOf(value: unknown, path: string, line: number): StimulusLine {
  if (!Array.isArray(value) || !Array.isArray(value[0]) || typeof value[0][0] !== "string")
    throw new StimulusLogError(`${path}, line ${line}: it must be [stimulus] or [stimulus, effects]`);
  const [stimulus, effects = []] = value as [Stimulus, Effect[]?];
  return [stimulus, effects];
}
