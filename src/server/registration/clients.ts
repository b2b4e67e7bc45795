import { ProtocolError } from "../../protocol/errors.ts";
import { frameMessage } from "../../protocol/frames.ts";
import { encodeMessage } from "../../protocol/message.ts";
import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { Channel } from "../peers/channel.ts";
import type { ClientPeer } from "../peers/cluster.ts";
import { isOrdinaryEnd } from "../peers/endings.ts";
import { releaseOf, unsupportedRelease } from "../peers/release.ts";
import { HANDED_OVER, NO_REPLY, type Reply } from "../rpc/context.ts";
import { PythonError } from "../rpc/python-error.ts";
import type { Request } from "../rpc/request.ts";
import { DenseIds } from "./ids.ts";
import type { RegistrationParts } from "./registration.ts";
import { versionWarning } from "./version-warning.ts";
import { stackOf } from "./workers.ts";

/** Whoever must know which clients come and go. */
export interface ClientWatcher {
  /** It is registered; nothing of its stream has been read yet. */
  onClientAdded?(peer: ClientPeer): void;
  onClientRemoved(peer: ClientPeer): void;
}

/** Registers clients and removes them. */
export class Clients {
  readonly watchers = new Set<ClientWatcher>();
  readonly #parts: RegistrationParts;
  readonly #ids = new DenseIds();
  /** Registrations and removals so far. */
  added = 0;
  removed = 0;

  constructor(parts: RegistrationParts) {
    this.#parts = parts;
  }

  /** `register-client`: the connection becomes the client's stream, which begins with a batch of exactly one. */
  register(request: Request, channel: Channel): Reply {
    const { cluster, events, log, now_ms, streams } = this.#parts;
    if (channel.closed !== null) return NO_REPLY;
    const name = request.string("client");
    const earlier = cluster.clients.get(name);
    if (earlier !== undefined) {
      // The same client again: its first stream broke in a way that has not reached us yet.
      this.remove(earlier, "it registered again");
      earlier.stream.destroy("the client registered again");
    }
    const versions = request.value("versions");
    const refusal = unsupportedRelease(versions);
    if (refusal !== null) {
      log.writeLimited("WARNING", `register ${name}`, `Refused client ${name}: ${refusal}`);
      channel.write([WireMap.of({ op: "stream-start", error: refusal, warning: "" })]);
      return NO_REPLY;
    }
    const stream = channel.connection;
    stream.pending_bytes_max = this.#parts.limits.stream_pending_bytes_max;
    const peer: ClientPeer = {
      kind: "client",
      id: this.#ids.take(),
      name,
      release: releaseOf("client", versions),
      versions,
      stream,
      last_seen_ms: now_ms(),
      gone: false,
    };
    stream.write(frameMessage(encodeMessage([this.#streamStart(versions)])));
    this.added++;
    cluster.clients.set(name, peer);
    cluster.addClient(peer);
    log.write("INFO", `Receive client connection: ${name}`);
    events.publish(["all", name], WireMap.of({ action: "add-client", client: name }));
    for (const watcher of this.watchers) watcher.onClientAdded?.(peer);
    stream.onClose = (reason) => this.#ended(peer, reason);
    channel.handOver((message) => {
      if (peer.gone) return;
      try {
        streams.onClientMessage(peer, message);
      } catch (error) {
        this.#fault(peer, error);
      }
    });
    return HANDED_OVER;
  }

  /** The one message of the stream's first batch, with a warning where the client's packages differ from others'. */
  #streamStart(versions: WireValue): WireMap {
    const { knownPackages, software } = this.#parts;
    const warning = versionWarning({ name: "Client", versions }, knownPackages(), software.packages);
    const message = WireMap.of({ op: "stream-start" });
    return warning === "" ? message : message.set("warning", warning).set("error", "");
  }

  /** Lets go of all that the client wanted. `why`: what went wrong, if anything. A second call does nothing. */
  remove(peer: ClientPeer, why: string | null = null): void {
    const { cluster, events, log, now_ms, streams } = this.#parts;
    if (peer.gone) return;
    log.write(
      why === null ? "INFO" : "WARNING",
      `Remove client ${peer.name}${why === null ? "" : `: ${why}`}`,
    );
    cluster.removeClient(peer, `remove-client-${now_ms() / 1000}`);
    peer.gone = true;
    this.removed++;
    cluster.clients.delete(peer.name);
    this.#ids.giveBack(peer.id);
    events.forgetClient(peer.name);
    for (const watcher of this.watchers) watcher.onClientRemoved(peer);
    streams.onGone(peer);
    events.publish(["all"], WireMap.of({ action: "remove-client", client: peer.name }));
  }

  #ended(peer: ClientPeer, reason: string): void {
    if (isOrdinaryEnd(reason)) this.remove(peer);
    else this.remove(peer, `its stream ended, ${reason}`);
  }

  /** What a client's message did wrong costs that client's stream; a bug of ours shows its stack. */
  #fault(peer: ClientPeer, error: unknown): void {
    const known = error instanceof ProtocolError || error instanceof PythonError;
    if (!known)
      this.#parts.log.write("ERROR", `A message of client ${peer.name} met a bug: ${stackOf(error)}`);
    peer.stream.destroy(known ? `bad message, ${error.message}` : "a bug of the scheduler's own");
  }
}
