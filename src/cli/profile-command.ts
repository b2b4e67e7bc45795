import { renderTable } from "../results/table.ts";
import { textOptionsOf } from "../results/text.ts";
import { ProfileClient } from "../server/live/client.ts";
import type { LiveWindow, TraceLevel } from "../server/live/window.ts";
import { writeLiveFolder } from "./live-results.ts";
import { defaultPlace, makeWritable, oneLine } from "./result-place.ts";
import { sayer } from "./say.ts";
import { stopAfter } from "./stop-after.ts";
import type { CommandProcess } from "./zero-run-command.ts";

export interface ProfileArguments {
  readonly seconds?: number;
  readonly out?: string;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly trace: TraceLevel;
}

/**
 * `rsds profile ADDRESS`: traces a running rsds scheduler until the time is over, Ctrl-C, or its end, and writes what
 * was seen. Answers the exit status: 0; 1 it cannot be profiled; 130 after Ctrl-C.
 */
export async function profileMain(
  given: string,
  args: ProfileArguments,
  { stdout, stderr, signal }: CommandProcess,
): Promise<number> {
  const say = sayer(args.quiet, stderr);
  const address = given.includes("://") ? given : `tcp://${given}`;
  const folder = args.out ?? defaultPlace("profile");
  let client: ProfileClient | null = null;
  try {
    makeWritable(folder);
    client = await ProfileClient.start(address, args.trace);
    say(`profiling ${address} ${args.seconds === undefined ? "until Ctrl-C" : `for ${args.seconds} s`}`);
    const window = await windowOf(client, args.seconds ?? null, signal, say);
    const asked = { address, ...(args.seconds === undefined ? {} : { seconds: args.seconds }) };
    const summary = await writeLiveFolder(folder, window, asked);
    if (args.json) stdout.write(`${JSON.stringify(summary)}\n`);
    else stdout.write(`${renderTable(summary, textOptionsOf(stdout))}\nfiles in ${folder}\n`);
    return signal.aborted ? 130 : 0;
  } catch (error) {
    stderr.write(`rsds profile: ${oneLine(error)}\n`);
    return signal.aborted ? 130 : 1;
  } finally {
    client?.close();
  }
}

/** Waits for the end of the window, whatever ends it. */
async function windowOf(
  client: ProfileClient,
  seconds: number | null,
  signal: AbortSignal,
  say: (text: string) => void,
): Promise<LiveWindow> {
  let asked = false;
  const release = stopAfter(seconds, signal, () => {
    asked = true;
    client.stop();
  });
  try {
    const window = await client.window;
    if (!asked) say("the scheduler ended");
    return window;
  } finally {
    release();
  }
}
