import { WireMap } from "../../protocol/values.ts";
import type { Channel } from "../peers/channel.ts";
import type { Log } from "../peers/log.ts";
import { type Handler, NO_REPLY, type Reply } from "../rpc/context.ts";
import type { Request } from "../rpc/request.ts";
import { batchToWire } from "./batch.ts";
import { Recorder, type RecorderParts } from "./recorder.ts";

/** A recorder that has not taken so many bytes does not keep up: what it misses would make the rest worthless. */
const PENDING_BYTES_MAX = 256 << 20;
/** One that does not take the last batch while the server ends has it for so long. */
const LAST_MS_MAX = 5_000;

export interface RecordingsParts extends RecorderParts {
  readonly log: Log;
}

interface Open {
  readonly owner: string;
  readonly channel: Channel;
  readonly recorder: Recorder;
}

/**
 * `rsds-record-start {payloads}`: from here on the connection is sent batches of what happens ({@link batchToWire}), until
 * `rsds-record-stop` on it, its end, or the server's; the last batch says why it is the last. One recording at a time; none
 * costs nothing.
 */
export class Recordings {
  readonly handlers: readonly (readonly [string, Handler])[] = [
    ["rsds-record-start", (request, _context, channel) => this.#start(request, channel)],
    ["rsds-record-stop", (_request, _context, channel) => this.#stop(channel)],
  ];
  readonly #parts: RecordingsParts;
  #open: Open | null = null;

  constructor(parts: RecordingsParts) {
    this.#parts = parts;
  }

  /** The server is about to end: whoever records is told, and given the rest. */
  async end(): Promise<void> {
    const open = this.#close("the scheduler ended");
    await open?.channel.drained(0, LAST_MS_MAX);
  }

  #start(request: Request, channel: Channel): Reply {
    const { log } = this.#parts;
    const payloads = request.boolean("payloads", false);
    if (this.#open !== null)
      return WireMap.of({
        status: "error",
        message: `the scheduler is being recorded already, by ${this.#open.owner}`,
      });
    const owner = `rsds record at ${channel.connection.peer}`;
    channel.write(
      WireMap.of({
        status: "OK",
        scheduler: this.#parts.scheduler.policy_name,
      }),
    );
    const recorder = new Recorder(this.#parts, payloads, (batch) => {
      channel.write(batchToWire(batch));
      // Not from within the batch that was one too many.
      if (channel.connection.pending_bytes > PENDING_BYTES_MAX)
        this.#parts.machine.soon(() => this.#closeOf(channel, "the recorder did not keep up"));
    });
    this.#open = { owner, channel, recorder };
    log.write("INFO", `Recording for ${owner}`);
    channel.watch(() => this.#closeOf(channel, "its connection ended"));
    return NO_REPLY;
  }

  /** The last batch is the answer. */
  #stop(channel: Channel): Reply {
    if (this.#open?.channel !== channel)
      return WireMap.of({ status: "error", message: "no recording of yours is under way" });
    this.#close("it was asked to");
    return NO_REPLY;
  }

  #closeOf(channel: Channel, why: string): void {
    if (this.#open?.channel === channel) this.#close(why);
  }

  #close(why: string): Open | null {
    const open = this.#open;
    if (open === null) return null;
    this.#open = null;
    open.channel.watch(null);
    open.recorder.end(why);
    this.#parts.log.write("INFO", `The recording of ${open.owner} is over: ${why}`);
    return open;
  }
}
