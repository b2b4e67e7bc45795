import { decodeMessage } from "../../protocol/message.ts";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { Channel } from "../peers/channel.ts";
import { beginWith, RequestRefusedError, refusal } from "../peers/own-request.ts";
import type { LiveWindow, TraceLevel } from "./window.ts";
import { windowFromWire } from "./wire.ts";

/** The other end of `rsds-profile-start`: a window of a running scheduler, open for as long as this connection. */
export class ProfileClient {
  readonly #channel: Channel;
  readonly #address: string;
  /** The window: asked for, or sent since the scheduler ended. */
  readonly window: Promise<LiveWindow>;

  private constructor(channel: Channel, address: string) {
    this.#channel = channel;
    this.#address = address;
    this.window = this.#read().then((reply) => {
      if (reply instanceof WireMap && reply.has("status")) throw refusal(reply);
      return windowFromWire(reply);
    });
    // Whoever awaits it is told; until then it is nobody's failure.
    this.window.catch(() => undefined);
  }

  /** Connects and opens the window. Rejects with the connection's error, or RequestRefusedError. */
  static async start(address: string, trace: TraceLevel): Promise<ProfileClient> {
    const request = WireMap.of({ op: "rsds-profile-start", trace, reply: true });
    const { channel } = await beginWith(address, request, "be profiled");
    return new ProfileClient(channel, address);
  }

  /** Asks for the window: it ends here. */
  stop(): void {
    this.#channel.write(WireMap.of({ op: "rsds-profile-stop", reply: true }));
  }

  close(): void {
    this.#channel.close();
  }

  async #read(): Promise<WireValue> {
    const message = await this.#channel.read();
    if (message === null)
      throw new RequestRefusedError(`the scheduler at ${this.#address} has gone: ${this.#channel.closed}`);
    return decodeMessage(message);
  }
}
