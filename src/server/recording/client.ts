import { handshakeAsConnector } from "../../comm/handshake.ts";
import { TcpTransport } from "../../comm/tcp.ts";
import { decodeMessage } from "../../protocol/message.ts";
import { WireMap } from "../../protocol/values.ts";
import { Channel } from "../peers/channel.ts";
import { batchFromWire, type RecordedBatch } from "./batch.ts";

/** The scheduler does not do what was asked; the message is for the user. */
class RecordRefusedError extends Error {
  override readonly name = "RecordRefusedError";
}

/** The other end of `rsds-record-start`: what happens in a running scheduler, for as long as this connection. */
export class RecordClient {
  /** The name of the scheduler's policy. */
  readonly scheduler: string;
  readonly #channel: Channel;

  private constructor(channel: Channel, scheduler: string) {
    this.#channel = channel;
    this.scheduler = scheduler;
  }

  /** Connects, and the recording begins. Rejects with the connection's error, or RecordRefusedError. */
  static async start(address: string, payloads: boolean): Promise<RecordClient> {
    const channel = new Channel(await handshakeAsConnector(await new TcpTransport().connect(address)));
    channel.write(WireMap.of({ op: "rsds-record-start", payloads, reply: true }));
    try {
      const message = await channel.read();
      if (message === null) throw new RecordRefusedError(`${address}: ${channel.closed}`);
      const reply = decodeMessage(message);
      // Dask's schedulers answer None to what they do not know.
      if (!(reply instanceof WireMap))
        throw new RecordRefusedError(
          `the scheduler at ${address} is not rsds, or one that cannot be recorded`,
        );
      const text = reply.get("message") ?? reply.get("exception_text");
      if (reply.get("status") !== "OK")
        throw new RecordRefusedError(typeof text === "string" ? text : "the scheduler refused");
      return new RecordClient(channel, String(reply.get("scheduler")));
    } catch (error) {
      channel.close();
      throw error;
    }
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
