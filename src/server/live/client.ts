import { handshakeAsConnector } from "../../comm/handshake.ts";
import { TcpTransport } from "../../comm/tcp.ts";
import { decodeMessage } from "../../protocol/message.ts";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import { Channel } from "../peers/channel.ts";
import type { LiveWindow, TraceLevel } from "./window.ts";
import { windowFromWire } from "./wire.ts";

/** The scheduler does not do what was asked; the message is for the user. */
class ProfileRefusedError extends Error {
  override readonly name = "ProfileRefusedError";
}

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
      refuse(reply);
      return windowFromWire(reply);
    });
    // Whoever awaits it is told; until then it is nobody's failure.
    this.window.catch(() => undefined);
  }

  /** Connects and opens the window. Rejects with the connection's error, or ProfileRefusedError. */
  static async start(address: string, trace: TraceLevel): Promise<ProfileClient> {
    const connection = await handshakeAsConnector(await new TcpTransport().connect(address));
    const channel = new Channel(connection);
    channel.write(WireMap.of({ op: "rsds-profile-start", trace, reply: true }));
    try {
      const message = await channel.read();
      if (message === null) throw new ProfileRefusedError(`${address}: ${channel.closed}`);
      const reply = decodeMessage(message);
      // Dask's schedulers answer None to what they do not know.
      if (!(reply instanceof WireMap))
        throw new ProfileRefusedError(
          `the scheduler at ${address} is not rsds, or one that cannot be profiled`,
        );
      refuse(reply);
    } catch (error) {
      channel.close();
      throw error;
    }
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
      throw new ProfileRefusedError(`the scheduler at ${this.#address} has gone: ${this.#channel.closed}`);
    return decodeMessage(message);
  }
}

function refuse(reply: WireValue): void {
  if (!(reply instanceof WireMap)) return;
  const text = reply.get("message") ?? reply.get("exception_text");
  if (reply.get("schema") === undefined && reply.get("status") !== "OK")
    throw new ProfileRefusedError(typeof text === "string" ? text : "the scheduler refused");
}
