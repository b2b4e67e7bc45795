import { EXTENSION_HANDLERS } from "../extensions/extensions.ts";
import { SHUFFLE_HANDLERS } from "../shuffle/handlers.ts";
import { BROADCAST_HANDLERS } from "./broadcast.ts";
import type { HandlerTable } from "./context.ts";
import { CONTROL_HANDLERS } from "./control.ts";
import { DATASET_HANDLERS } from "./datasets.ts";
import { GATHER_HANDLERS } from "./gather.ts";
import { IDENTITY_HANDLERS } from "./identity.ts";
import { LOG_HANDLERS } from "./logs.ts";
import { METADATA_HANDLERS } from "./metadata.ts";
import { PLUGIN_HANDLERS } from "./plugins.ts";
import { PROFILE_HANDLERS } from "./profile.ts";
import { QUERY_HANDLERS } from "./queries.ts";
import { REPLICATE_HANDLERS } from "./replicate.ts";
import { RESTART_HANDLERS } from "./restart.ts";
import { SCATTER_HANDLERS } from "./scatter.ts";

/**
 * Every operation that the server answers by RPC. One that is not here is answered with None, counted and named
 * in the log: never a handler that says OK and does nothing.
 */
export const HANDLERS: HandlerTable = new Map([
  ...CONTROL_HANDLERS,
  ...IDENTITY_HANDLERS,
  ...QUERY_HANDLERS,
  ...GATHER_HANDLERS,
  ...SCATTER_HANDLERS,
  ...REPLICATE_HANDLERS,
  ...BROADCAST_HANDLERS,
  ...PLUGIN_HANDLERS,
  ...METADATA_HANDLERS,
  ...DATASET_HANDLERS,
  ...LOG_HANDLERS,
  ...RESTART_HANDLERS,
  ...SHUFFLE_HANDLERS,
  ...EXTENSION_HANDLERS,
  ...PROFILE_HANDLERS,
]);
