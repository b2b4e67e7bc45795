import { WireMap, type WireValue } from "../../protocol/values.ts";
import { TracingBusyError } from "../live/live-trace.ts";
import { windowToWire } from "../live/wire.ts";
import type { Channel } from "../peers/channel.ts";
import type { Handler, RpcContext } from "./context.ts";
import type { Request } from "./request.ts";

/** A profiler that does not take its window while the server ends has it for so long. */
const LAST_MS_MAX = 5_000;

/**
 * `rsds-profile-start {trace: "phases" | "tasks"}`: tracing is on until `rsds-profile-stop` on the same connection,
 * or until that ends. Should the server end first, the window is sent as it is, unasked.
 */
async function start(request: Request, context: RpcContext, channel: Channel): Promise<WireValue> {
  const { live, log } = context;
  const trace = request.string("trace");
  if (trace !== "phases" && trace !== "tasks") return refused(`there is no trace '${trace}'`);
  if (live === null) return refused("this server keeps no trace");
  const owner = ownerOf(channel);
  try {
    await live.start(owner, trace, async (window) => {
      channel.watch(null);
      channel.write(windowToWire(window));
      await channel.drained(0, LAST_MS_MAX);
    });
  } catch (error) {
    if (error instanceof TracingBusyError) return refused(error.message);
    throw error;
  }
  log.write("INFO", `Tracing ${trace} for ${owner}`);
  const switchOff = (): void => {
    live.stop(owner).then(
      () => log.write("INFO", `Tracing is off: ${owner} has gone`),
      (error: unknown) => log.write("ERROR", `Switching the tracing off failed: ${String(error)}`),
    );
  };
  // It may have gone while the window was opened.
  if (channel.closed === null) channel.watch(switchOff);
  else switchOff();
  return WireMap.of({ status: "OK" });
}

/** `rsds-profile-stop`: answers what the window showed. */
async function stop(_request: Request, context: RpcContext, channel: Channel): Promise<WireValue> {
  channel.watch(null);
  const owner = ownerOf(channel);
  const window = (await context.live?.stop(owner)) ?? null;
  if (window === null) return refused("no window of yours is open");
  context.log.write("INFO", `Tracing is off: ${owner} has its window`);
  return windowToWire(window);
}

function ownerOf(channel: Channel): string {
  return `rsds profile at ${channel.connection.peer}`;
}

function refused(message: string): WireMap {
  return WireMap.of({ status: "error", message });
}

export const PROFILE_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["rsds-profile-start", start],
  ["rsds-profile-stop", stop],
];
