import { handshakeAsConnector } from "../../comm/handshake.ts";
import { TcpTransport } from "../../comm/tcp.ts";
import { decodeMessage } from "../../protocol/message.ts";
import { WireMap } from "../../protocol/values.ts";
import { Channel } from "./channel.ts";

/** The scheduler does not do what was asked; the message is for the user. */
export class RequestRefusedError extends Error {
  override readonly name = "RequestRefusedError";
}

/**
 * Connects to a scheduler that should be rsds, and begins with a request that Dask's do not know. `wish`: in words what
 * it must be able to, such as "be profiled". Rejects with the connection's error, or RequestRefusedError; then the
 * connection is closed again.
 */
export async function beginWith(
  address: string,
  request: WireMap,
  wish: string,
): Promise<{ readonly channel: Channel; readonly reply: WireMap }> {
  const channel = new Channel(await handshakeAsConnector(await new TcpTransport().connect(address)));
  try {
    channel.write(request);
    const message = await channel.read();
    if (message === null) throw new RequestRefusedError(`${address}: ${channel.closed}`);
    const reply = decodeMessage(message);
    // Dask's schedulers answer None to what they do not know.
    if (!(reply instanceof WireMap))
      throw new RequestRefusedError(`the scheduler at ${address} is not rsds, or one that cannot ${wish}`);
    if (reply.get("status") !== "OK") throw refusal(reply);
    return { channel, reply };
  } catch (error) {
    channel.close();
    throw error;
  }
}

/** What a reply says that does not do what was asked. */
export function refusal(reply: WireMap): RequestRefusedError {
  const text = reply.get("message") ?? reply.get("exception_text");
  return new RequestRefusedError(typeof text === "string" ? text : "the scheduler refused");
}
