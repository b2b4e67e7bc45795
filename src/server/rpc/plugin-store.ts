import { WireMap, type WireValue } from "../../protocol/values.ts";
import type { Release } from "../peers/release.ts";
import { SHUFFLE_WORKER_PLUGIN } from "../registration/shuffle-plugin.ts";

/** Plugins that users register for all workers and nannies, those to come included. Pickles, never opened. */
export class PluginStore {
  readonly worker = new Map<string, WireValue>([["shuffle", SHUFFLE_WORKER_PLUGIN]]);
  readonly nanny = new Map<string, WireValue>();

  /** For the reply to register-worker. 2022's workers bring their shuffle along and would fail on this one. */
  workerPlugins(release: Release): WireMap {
    const plugins = new WireMap();
    for (const [name, plugin] of this.worker) {
      if (release === "2022.12" && plugin === SHUFFLE_WORKER_PLUGIN) continue;
      plugins.set(name, plugin);
    }
    return plugins;
  }

  nannyPlugins(): WireMap {
    return WireMap.from(this.nanny);
  }
}
