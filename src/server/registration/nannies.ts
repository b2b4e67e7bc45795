import { WireMap } from "../../protocol/values.ts";
import type { Channel } from "../peers/channel.ts";
import { NO_REPLY, type Reply } from "../rpc/context.ts";
import type { PluginStore } from "../rpc/plugin-store.ts";
import type { Request } from "../rpc/request.ts";

/** Nannies that announced themselves and have not yet started their worker: plugins for all must wait for them. */
export class Nannies {
  readonly #plugins: PluginStore;
  readonly #starting = new Set<symbol>();
  #waiting: (() => void)[] = [];

  constructor(plugins: PluginStore) {
    this.#plugins = plugins;
  }

  get starting_count(): number {
    return this.#starting.size;
  }

  /**
   * `register_nanny`. From 2024 on the nanny names its address, and says on the same connection when its worker
   * has started or failed; 2022's asks and is answered.
   */
  async register(request: Request, channel: Channel): Promise<Reply> {
    const reply = WireMap.of({ status: "OK", "nanny-plugins": this.#plugins.nannyPlugins() });
    if (request.value("address") === null) return reply;
    const start = Symbol(request.string("address"));
    this.#starting.add(start);
    try {
      channel.write(reply);
      // Its status, or its end: either way it is no longer starting.
      await channel.read();
    } finally {
      this.#starting.delete(start);
      if (this.#starting.size === 0) for (const proceed of this.#waiting.splice(0)) proceed();
    }
    return NO_REPLY;
  }

  /** Resolves once no nanny is starting. */
  async allStarted(): Promise<void> {
    while (this.#starting.size > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}
