import { WireMap, type WireValue } from "../../protocol/values.ts";
import { askAllNannies, askAllWorkers } from "./broadcast.ts";
import type { Handler, RpcContext } from "./context.ts";
import { PythonError } from "./python-error.ts";
import type { Request } from "./request.ts";

/** `register_worker_plugin {plugin, name, idempotent?}`: on all workers, those to come included. */
async function registerWorkerPlugin(request: Request, context: RpcContext): Promise<WireValue> {
  const name = request.string("name");
  const plugin = request.value("plugin");
  context.log.write("INFO", `Registering Worker plugin ${name}`);
  if (request.boolean("idempotent", false) && context.plugins.worker.has(name)) return new WireMap();
  context.plugins.worker.set(name, plugin);
  return askAllWorkers(WireMap.of({ op: "plugin-add", plugin, name }), context);
}

async function unregisterWorkerPlugin(request: Request, context: RpcContext): Promise<WireValue> {
  const name = request.string("name");
  if (!context.plugins.worker.delete(name)) {
    throw new PythonError("ValueError", `The worker plugin ${name} does not exist`);
  }
  return askAllWorkers(WireMap.of({ op: "plugin-remove", name }), context);
}

/** `register_nanny_plugin`: nannies that are starting would miss it, so they are waited for. */
async function registerNannyPlugin(request: Request, context: RpcContext): Promise<WireValue> {
  const name = request.string("name");
  const plugin = request.value("plugin");
  context.log.write("INFO", `Registering Nanny plugin ${name}`);
  if (request.boolean("idempotent", false) && context.plugins.nanny.has(name)) return new WireMap();
  context.plugins.nanny.set(name, plugin);
  await context.registration.nannies.allStarted();
  return askAllNannies(WireMap.of({ op: "plugin_add", plugin, name }), context);
}

async function unregisterNannyPlugin(request: Request, context: RpcContext): Promise<WireValue> {
  const name = request.string("name");
  if (!context.plugins.nanny.delete(name)) {
    throw new PythonError("ValueError", `The nanny plugin ${name} does not exist`);
  }
  return askAllNannies(WireMap.of({ op: "plugin_remove", name }), context);
}

export const PLUGIN_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["register_worker_plugin", registerWorkerPlugin],
  ["unregister_worker_plugin", unregisterWorkerPlugin],
  ["register_nanny_plugin", registerNannyPlugin],
  ["unregister_nanny_plugin", unregisterNannyPlugin],
];
