import { writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { basename } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import type { Recording } from "../../simulator/workloads/recording.ts";
import type { RecordedHeader } from "../../simulator/workloads/write-recorded.ts";
import { rsdsVersion } from "../results/machine.ts";
import { RecordClient } from "../server/recording/client.ts";
import { oneLine } from "./result-place.ts";
import { wholeSeconds } from "./run-options.ts";
import { sayer } from "./say.ts";
import { stopAfter } from "./stop-after.ts";
import type { CommandProcess } from "./zero-run-command.ts";

export interface RecordArguments {
  readonly seconds?: number;
  readonly out?: string;
  readonly payloads: boolean;
  readonly json: boolean;
  readonly quiet: boolean;
}

/** Where the recording goes unless told. */
function defaultFile(): string {
  return `rsds-recorded-${new Date().toISOString().replaceAll(/[:.]/g, "-")}.jsonl.gz`;
}

/** Adds `rsds record`. */
export function addRecordCommand(program: Command): Command {
  return program
    .command("record")
    .description(
      "write what clients submit to a running rsds scheduler, and how long it took, as a recorded graph",
    )
    .argument("<address>", "the scheduler, such as tcp://127.0.0.1:8786")
    .option("--seconds <s>", "for so long (default: until Ctrl-C)", wholeSeconds)
    .option("--out <file>", "the file (default: rsds-recorded-<utc time>.jsonl.gz)", fileName)
    .option("--payloads", "keep the keys, and what workers ran, too", false)
    .option("--json", "print the file's header as one JSON document", false)
    .option("--quiet", "no progress on stderr", false);
}

/** By these endings `--workload` knows a recorded graph from a generator. */
function fileName(text: string): string {
  if (text.endsWith(".gz")) return text;
  throw new InvalidArgumentError("Its name must end in .jsonl.gz.");
}

/**
 * `rsds record ADDRESS`: records a running rsds scheduler until the time is over, Ctrl-C, or its end, and writes the file.
 * Answers the exit status: 0; 1 it cannot be recorded, or nothing came to an end; 130 after Ctrl-C.
 */
export async function recordMain(
  given: string,
  args: RecordArguments,
  { stdout, stderr, signal }: CommandProcess,
): Promise<number> {
  const say = sayer(args.quiet, stderr);
  const address = given.includes("://") ? given : `tcp://${given}`;
  const path = args.out ?? defaultFile();
  const started_at = new Date().toISOString();
  const begun = performance.now();
  let client: RecordClient | null = null;
  try {
    await makeWritable(path);
    client = await RecordClient.start(address, args.payloads);
    say(`recording ${address} ${args.seconds === undefined ? "until Ctrl-C" : `for ${args.seconds} s`}`);
    const recording = await recordingOf(client, args.seconds ?? null, signal, say);
    const { writeRecorded } = await import("../../simulator/workloads/write-recorded.ts");
    const header = await writeRecorded(path, recording, {
      name: basename(path).replace(/(\.jsonl)?\.gz$/, ""),
      version: rsdsVersion(),
      scheduler: client.scheduler,
      started_at,
      seconds: Math.round(performance.now() - begun) / 1e3,
      payloads: args.payloads,
    });
    stdout.write(args.json ? `${JSON.stringify(header)}\n` : render(header, path));
    if (header.tasks === 0) throw new Error("no task came to an end: record while something is computed");
    return signal.aborted ? 130 : 0;
  } catch (error) {
    stderr.write(`rsds record: ${oneLine(error)}\n`);
    return signal.aborted ? 130 : 1;
  } finally {
    client?.close();
  }
}

/** Before anything is recorded: a file that cannot be written is told of at once. */
async function makeWritable(path: string): Promise<void> {
  try {
    writeFileSync(`${path}.part`, "");
  } catch (error) {
    throw new Error(`cannot write to ${path} (${oneLine(error)}): give another --out FILE`);
  }
  await rm(`${path}.part`, { force: true });
}

/** All that is recorded until the end, whatever ends it. */
async function recordingOf(
  client: RecordClient,
  seconds: number | null,
  signal: AbortSignal,
  say: (text: string) => void,
): Promise<Recording> {
  const { Recording } = await import("../../simulator/workloads/recording.ts");
  const recording = new Recording();
  const release = stopAfter(seconds, signal, () => client.stop());
  try {
    let asked = false;
    for (;;) {
      const batch = await client.next();
      if (batch === null) {
        say("the scheduler has gone");
        return recording;
      }
      recording.add(batch);
      if (batch.end !== null) {
        if (batch.end !== ASKED) say(batch.end);
        return recording;
      }
      if (!recording.full || asked) continue;
      say(`the recording is full: ${recording.rows} tasks`);
      asked = true;
      client.stop();
    }
  } finally {
    release();
  }
}

const ASKED = "it was asked to";

function render(header: RecordedHeader, path: string): string {
  const { tasks, graphs, clients, deps, makespan_s, unfinished, failed, setup } = header;
  const { workers, transfers, scheduler } = setup;
  const number = (value: number): string => Math.round(value).toLocaleString("en-US");
  const bandwidth =
    transfers.bandwidth === null ? "" : `, ${(transfers.bandwidth / 1e6).toPrecision(3)} MB/s`;
  return [
    `${number(tasks)} tasks of ${number(graphs)} graphs, ${number(clients)} clients · ${number(deps)} dependencies · ${number(workers.length)} workers · ${scheduler}`,
    "",
    `  makespan     ${makespan_s.toPrecision(4)} s, tasks of ${header.avg_dur_ms.toPrecision(3)} ms and ${header.avg_size_kib.toPrecision(3)} KiB`,
    `  transfers    ${number(transfers.count)} of ${(transfers.bytes / 1e6).toPrecision(3)} MB: ${(transfers.latency_us / 1e3).toPrecision(3)} ms each${bandwidth}`,
    `  messages     ${(setup.message_us / 1e3).toPrecision(3)} ms on their way at least`,
    ...(unfinished + failed > 0
      ? [`  left out     ${number(unfinished)} tasks that did not come to an end; ${number(failed)} failed`]
      : []),
    `  written to   ${path}`,
    "",
  ].join("\n");
}
