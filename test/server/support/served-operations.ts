import { ServerLog } from "../../../src/server/peers/log.ts";
import { DEFAULT_PEER_LIMITS } from "../../../src/server/peers/options.ts";
import { SchedulerServer } from "../../../src/server/server.ts";

/** Names of all requests that a server of `rsds scheduler` answers, sorted. */
export function servedOperations(): string[] {
  const server = new SchedulerServer({
    listen_address: "inproc://served-operations",
    contact_host: null,
    scheduler: "workstealing",
    seed: 1,
    python: null,
    limits: DEFAULT_PEER_LIMITS,
    log: new ServerLog("test", () => undefined),
    version: "0.0.0",
    probe: { tracer: null },
  });
  return [...server.peers.handlers.keys()].sort();
}
