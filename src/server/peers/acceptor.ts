import type { Connection } from "../../comm/connection.ts";
import { HandshakeCutShort } from "../../comm/handshake.ts";
import { ProtocolError } from "../../protocol/errors.ts";
import type { HandlerTable, RpcContext } from "../rpc/context.ts";
import { serveRequests } from "../rpc/dispatch.ts";
import { Channel } from "./channel.ts";
import { isOrdinaryEnd } from "./endings.ts";

/** Makes a fresh connection ready, as the side that was connected to; rejects for a peer that does not speak Dask. */
export type Handshake = (connection: Connection) => Promise<Connection>;

/**
 * Receives every connection of the listeners: handshake, then requests, until the connection ends or becomes a
 * worker's or client's stream. Whatever a peer does wrong costs its own connection and one line of the log.
 */
export class Acceptor {
  readonly #table: HandlerTable;
  readonly #context: RpcContext;
  readonly #handshake: Handshake;
  /** Not yet streams: those belong to the registration. */
  readonly #open = new Set<Connection>();
  /** Those whose line is already in the log. */
  readonly #dropped = new WeakSet<Connection>();
  #closed = false;

  constructor(table: HandlerTable, context: RpcContext, handshake: Handshake) {
    this.#table = table;
    this.#context = context;
    this.#handshake = handshake;
  }

  /** Connections that are in their handshake or serve requests. */
  get open_count(): number {
    return this.#open.size;
  }

  /** For the listener's `onConnection`. Never throws. */
  accept(connection: Connection): void {
    const { limits, cluster } = this.#context;
    const count = this.#open.size + cluster.workers.size + cluster.clients.size;
    if (this.#closed || count >= limits.connections_max) {
      this.#drop(connection, `refused: ${count} connections are open`);
      return;
    }
    this.#open.add(connection);
    this.#serve(connection)
      .catch((error: unknown) => this.#fail(connection, error))
      .finally(() => this.#open.delete(connection));
  }

  /** Ends all connections that are not streams. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#open) connection.destroy("the server is closing");
  }

  async #serve(connection: Connection): Promise<void> {
    const { limits, machine } = this.#context;
    const ready = await this.#handshake(connection);
    const channel = new Channel(ready, machine);
    const timer = machine.after(limits.first_message_ms, () => {
      this.#drop(connection, `asked for nothing within ${limits.first_message_ms} ms`);
    });
    const first = await channel.peek();
    machine.cancel(timer);
    const handed_over = first && (await serveRequests(channel, this.#table, this.#context));
    if (handed_over) return;
    if (channel.closed !== null) this.#noteEnd(connection, channel.closed);
    connection.close();
  }

  /** The transport ended it: one line if the peer's bytes were the reason, none for a peer that just left. */
  #noteEnd(connection: Connection, reason: string): void {
    if (!this.#closed && !isOrdinaryEnd(reason) && !this.#dropped.has(connection))
      this.#drop(connection, reason);
  }

  #fail(connection: Connection, error: unknown): void {
    if (this.#closed) return;
    // A port scan, a health check, or a peer that was killed as it connected.
    if (error instanceof HandshakeCutShort && isOrdinaryEnd(error.reason)) return;
    if (error instanceof ProtocolError) {
      this.#drop(connection, error.message);
      return;
    }
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#drop(connection, `a bug of the scheduler's own: ${text}`, "ERROR");
  }

  #drop(connection: Connection, why: string, level: "WARNING" | "ERROR" = "WARNING"): void {
    this.#dropped.add(connection);
    const text = `Dropped connection from ${connection.peer}: ${why.replace(`${connection.peer}: `, "")}`;
    this.#context.log.writeLimited(level, `connection from ${hostOf(connection.peer)}`, text);
    connection.destroy(why);
  }
}

/** The peer without its port, which is another one for each connection of the same peer. */
function hostOf(address: string): string {
  return address.replace(/:\d+$/, "");
}
