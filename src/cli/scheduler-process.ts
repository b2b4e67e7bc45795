import { rsdsVersion } from "../results/machine.ts";
import { giveHeapHeadroom } from "./heap-headroom.ts";
import { tolerateClosedStream } from "./log.ts";
import { schedulerMain } from "./scheduler-command.ts";
import { startServer } from "./start-server.ts";

/** `rsds scheduler` in this process; answers the exit status. */
export function runScheduler(argv: readonly string[]): Promise<number> {
  tolerateClosedStream(process.stderr);
  giveHeapHeadroom();
  return schedulerMain(argv, startServer, {
    stdout: process.stdout,
    stderr: process.stderr,
    version: rsdsVersion(),
    env: process.env,
  });
}
