/**
 * The worker plugin that Dask's scheduler announces to each worker since 2023, without which P2P shuffles fail:
 * the pickle of an instance of `distributed.shuffle._worker_plugin.ShuffleWorkerPlugin`, the same 76 bytes in
 * 2024.12 and 2026.8 (recorded in the reply to register-worker).
 */
export const SHUFFLE_WORKER_PLUGIN: Uint8Array = Buffer.from(
  "80059541000000000000008c2264697374726962757465642e73687566666c652e5f776f726b65725f706c7567696e94" +
    "8c1353687566666c65576f726b6572506c7567696e9493942981942e",
  "hex",
);
