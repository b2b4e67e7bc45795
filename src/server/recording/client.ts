import { decodeMessage } from "../../protocol/message.ts";
import { WireMap } from "../../protocol/values.ts";
import type { Channel } from "../peers/channel.ts";
import { beginWith } from "../peers/own-request.ts";
import { batchFromWire, type RecordedBatch } from "./batch.ts";

/** The other end of `rsds-record-start`: what happens in a running scheduler, for as long as this connection. */
export class RecordClient {
  /** The name of the scheduler's policy. */
  readonly scheduler: string;
  readonly #channel: Channel;

  private constructor(channel: Channel, scheduler: string) {
    this.#channel = channel;
    this.scheduler = scheduler;
  }

  /** Connects, and the recording begins. Rejects with the connection's error, or RequestRefusedError. */
  static async start(address: string, payloads: boolean): Promise<RecordClient> {
    const request = WireMap.of({ op: "rsds-record-start", payloads, reply: true });
    const { channel, reply } = await beginWith(address, request, "be recorded");
    return new RecordClient(channel, String(reply.get("scheduler")));
  }

  /** What happened next; null: the connection has ended, without a last batch. */
  async next(): Promise<RecordedBatch | null> {
    const message = await this.#channel.read();
    return message === null ? null : batchFromWire(decodeMessage(message));
  }

  /** Asks for the last batch. */
  stop(): void {
    this.#channel.write(WireMap.of({ op: "rsds-record-stop", reply: true }));
  }

  close(): void {
    this.#channel.close();
  }
}
