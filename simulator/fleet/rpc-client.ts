import type { Connection, Transport } from "../../src/comm/connection.ts";
import { handshakeAsConnector } from "../../src/comm/handshake.ts";
import { frameMessage } from "../../src/protocol/frames.ts";
import { decodeMessage, encodeMessage } from "../../src/protocol/message.ts";
import type { WireMap, WireValue } from "../../src/protocol/values.ts";

/** Requests to one peer, one at a time, on one connection that is made when it is first needed and kept. */
export class RpcClient {
  readonly #transport: Transport;
  readonly #address: string;
  #connection: Connection | null = null;
  #settle: { resolve: (reply: WireValue) => void; reject: (error: Error) => void } | null = null;
  #closed = false;

  constructor(transport: Transport, address: string) {
    this.#transport = transport;
    this.#address = address;
  }

  /** Sends a request and gives its reply. Rejects if the connection ends first. Not to be called while one waits. */
  async call(request: WireMap): Promise<WireValue> {
    const connection = this.#connection ?? (await this.#connect());
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      connection.write(frameMessage(encodeMessage(request)));
    });
  }

  /** Ends the connection; a request that waits is rejected. */
  close(): void {
    this.#closed = true;
    this.#connection?.close();
    this.#fail("closed");
  }

  async #connect(): Promise<Connection> {
    const connection = await handshakeAsConnector(await this.#transport.connect(this.#address));
    if (this.#closed) {
      connection.close();
      throw new Error("closed");
    }
    this.#connection = connection;
    connection.onClose = (reason) => {
      this.#connection = null;
      this.#fail(reason);
    };
    connection.onMessage = (message) => {
      const settle = this.#settle;
      this.#settle = null;
      try {
        settle?.resolve(decodeMessage(message));
      } catch (error) {
        settle?.reject(error as Error);
        connection.destroy(String(error));
      }
    };
    return connection;
  }

  #fail(reason: string): void {
    const settle = this.#settle;
    this.#settle = null;
    settle?.reject(new Error(`connection to ${this.#address}: ${reason}`));
  }
}
