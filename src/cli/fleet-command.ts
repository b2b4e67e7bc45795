import { renderFleetTable } from "../results/fleet.ts";
import { textOptionsOf } from "../results/text.ts";
import { makeWritable, oneLine } from "./result-place.ts";
import { sayer } from "./say.ts";
import type { CommandProcess } from "./zero-run-command.ts";

export interface FleetArguments {
  readonly workers: number;
  readonly release: "2022.12" | "2024.12" | "2026.8";
  readonly flush: "turn" | "each";
  readonly seconds?: number;
  readonly out?: string;
  readonly json: boolean;
  readonly quiet: boolean;
}

/** `rsds fleet ADDRESS --workers N`: attaches zero workers to any scheduler until it, the time or Ctrl-C ends it. */
export async function fleetMain(
  address: string,
  args: FleetArguments,
  { stdout, stderr, signal }: CommandProcess,
): Promise<number> {
  const { attachFleet } = await import("../../simulator/fleet/attach.ts");
  const say = sayer(args.quiet, stderr);
  try {
    if (args.out !== undefined) makeWritable(args.out);
    const { document, ended } = await attachFleet(
      {
        address,
        workers: args.workers,
        release: args.release,
        flush: args.flush,
        seconds: args.seconds ?? null,
        out: args.out ?? null,
        log: say,
        onStarted: () => say(`${args.workers} zero workers are attached to ${address}`),
      },
      signal,
    );
    say(`the fleet left: ${ended}`);
    if (args.json) stdout.write(`${JSON.stringify(document)}\n`);
    else stdout.write(`${renderFleetTable(document, textOptionsOf(stdout))}\n`);
    return signal.aborted ? 130 : 0;
  } catch (error) {
    if (signal.aborted) return 130;
    stderr.write(`rsds fleet: ${oneLine(error)}\n`);
    return 1;
  }
}
