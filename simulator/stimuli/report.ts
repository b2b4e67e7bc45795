import { InvariantError } from "../../src/base/assert.ts";
import type { StimulusHeader } from "../../src/core/stimulus-header.ts";
import { readStimuli, type StimulusLine, StimulusLogError } from "./read.ts";
import { type Difference, StimulusReplay, UnknownStimulusError } from "./replay.ts";

/** What became of one log, and what `rsds simulate --stimuli --json` prints. */
export interface StimulusReport {
  readonly schema: "rsds.stimuli-replay/1";
  readonly file: string;
  /** Of who wrote it. */
  readonly recorded: { readonly version: string; readonly started_at: string; readonly scheduler: string };
  readonly stimuli: number;
  readonly batches: number;
  readonly effects: number;
  /** Tasks in the books at once. */
  readonly tasks_max: number;
  /** Stimuli on which the core said something else than the recorded one. */
  readonly differences: number;
  readonly first_difference: Difference | null;
  /** The invariant that did not hold, and after which stimulus; null: all held. */
  readonly breach: { readonly stimulus: number; readonly message: string } | null;
  /** Of all that the core said. */
  readonly digest: string;
  readonly cpu_s: number;
}

export interface ReplayProgress {
  say(text: string): void;
  readonly signal: AbortSignal;
}

const SLICE = 2_000;

/** Replays a log into a core of its own. Throws StimulusLogError where that is none, and where the signal says so. */
export async function replayStimuli(path: string, { say, signal }: ReplayProgress): Promise<StimulusReport> {
  const begun = process.cpuUsage();
  let header: StimulusHeader | null = null;
  let replay: StimulusReplay | null = null;
  let breach: StimulusReport["breach"] = null;
  for await (const line of readStimuli(path)) {
    if (replay === null) {
      header = line as StimulusHeader;
      replay = new StimulusReplay(header);
      continue;
    }
    breach = applied(replay, line as StimulusLine, path);
    if (breach !== null) break;
    if (replay.stimuli % SLICE !== 0) continue;
    say(`${path}: ${replay.stimuli} stimuli, ${replay.differences} of them with another effect`);
    await new Promise((resolve) => setImmediate(resolve));
    signal.throwIfAborted();
  }
  if (replay === null || header === null) throw new StimulusLogError(`${path} has no header`);
  const used = process.cpuUsage(begun);
  const { stimuli, batches, effects, tasks_max, differences, first_difference } = replay;
  return {
    schema: "rsds.stimuli-replay/1",
    file: path,
    recorded: {
      version: header.rsds.version,
      started_at: header.started_at,
      scheduler: header.scheduler,
    },
    ...{ stimuli, batches, effects, tasks_max, differences, first_difference, breach },
    digest: replay.digest(),
    cpu_s: (used.user + used.system) / 1e6,
  };
}

function applied(
  replay: StimulusReplay,
  [stimulus, effects]: StimulusLine,
  path: string,
): StimulusReport["breach"] {
  try {
    replay.apply(stimulus, effects);
    return null;
  } catch (error) {
    if (error instanceof UnknownStimulusError) throw new StimulusLogError(`${path}: ${error.message}`);
    if (!(error instanceof InvariantError)) throw error;
    return { stimulus: replay.stimuli, message: error.message };
  }
}

/** The report as a few lines of text. */
export function renderStimuli(report: StimulusReport): string {
  const { file, recorded, stimuli, batches, effects, tasks_max, differences, first_difference, breach } =
    report;
  const number = (value: number): string => value.toLocaleString("en-US");
  const lines = [
    `${file}  ${recorded.scheduler} · rsds ${recorded.version} · ${recorded.started_at}`,
    "",
    `  replayed     ${number(stimuli)} stimuli in ${number(batches)} batches, at most ${number(tasks_max)} tasks at once, in ${report.cpu_s.toFixed(1)} s of CPU`,
    `  invariants   ${breach === null ? "held" : `broken by stimulus ${number(breach.stimulus)}: ${breach.message}`}`,
    `  effects      ${number(effects)}, ${differences === 0 ? "all as recorded" : `other ones on ${number(differences)} stimuli`}`,
    `  digest       ${report.digest}`,
  ];
  if (first_difference !== null) {
    const { stimulus, given, recorded: before, replayed } = first_difference;
    lines.push(
      ...["", `  the first difference, stimulus ${number(stimulus)}: ${cut(given)}`],
      ...[`    recorded   ${cut(before)}`, `    replayed   ${cut(replayed)}`],
    );
  }
  return `${lines.join("\n")}\n`;
}

const SHOWN_CHARS = 2_000;

function cut(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length <= SHOWN_CHARS ? text : `${text.slice(0, SHOWN_CHARS)}… (--json has all of it)`;
}
