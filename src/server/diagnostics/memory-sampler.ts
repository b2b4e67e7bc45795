import type { Machine, Timer } from "../../base/machine.ts";
import type { WireValue } from "../../protocol/values.ts";
import type { CoreCluster } from "../core-cluster.ts";
import type { Handler } from "../rpc/context.ts";
import { PythonError } from "../rpc/python-error.ts";
import type { Request } from "../rpc/request.ts";
import { floatValue } from "../rpc/wire-shapes.ts";
import { MEMORY_MEASURES, type MemoryState, type WorkerMemory } from "./memory.ts";

/** Series that are recorded at once, over all clients. */
const SERIES_MAX = 1_000;
/** Samples of one series; older ones are dropped. */
const SAMPLES_MAX = 1_000_000;
const INTERVAL_MS_MIN = 1;

interface Series {
  readonly samples: { readonly time_s: number; readonly bytes: number }[];
  readonly timer: Timer;
}

/** `distributed.diagnostics.MemorySampler`: the memory of all workers over time, for clients that ask for it. */
export class MemorySampler {
  readonly handlers: readonly (readonly [string, Handler])[] = [
    ["memory_sampler_start", (request) => this.#start(request)],
    ["memory_sampler_stop", (request) => this.#stop(request)],
  ];
  readonly #memory: WorkerMemory;
  readonly #cluster: CoreCluster;
  readonly #machine: Machine;
  readonly #series = new Map<string, Series>();

  constructor(memory: WorkerMemory, cluster: CoreCluster, machine: Machine) {
    this.#memory = memory;
    this.#cluster = cluster;
    this.#machine = machine;
  }

  close(): void {
    for (const series of this.#series.values()) this.#machine.cancel(series.timer);
    this.#series.clear();
  }

  #start(request: Request): WireValue {
    const client = request.string("client");
    const measure = measureOf(request.string("measure"));
    const interval_ms = 1000 * (request.optionalNumber("interval") ?? 0.5);
    if (!(interval_ms >= INTERVAL_MS_MIN))
      throw new PythonError("ValueError", "interval must be at least 1 ms");
    if (this.#series.size >= SERIES_MAX)
      throw new PythonError("RuntimeError", `${SERIES_MAX} memory samplers run already`);
    const key = this.#machine.uuid();
    const timer = this.#machine.every(interval_ms, () => {
      // Nobody is left who could ask for the samples.
      if (!this.#cluster.clients.has(client)) this.#end(key);
      else this.#sample(key, measure);
    });
    timer.unref();
    this.#series.set(key, { samples: [], timer });
    this.#sample(key, measure);
    return key;
  }

  #sample(key: string, measure: keyof MemoryState): void {
    const samples = this.#series.get(key)?.samples;
    samples?.push({ time_s: this.#machine.wall_ms() / 1000, bytes: this.#memory.total()[measure] });
    if (samples !== undefined && samples.length > SAMPLES_MAX) samples.splice(0, SAMPLES_MAX / 10);
  }

  #stop(request: Request): WireValue {
    const key = request.string("key");
    const series = this.#end(key);
    if (series === undefined) throw new PythonError("KeyError", key);
    return series.samples.map(({ time_s, bytes }) => [floatValue(time_s), bytes]);
  }

  #end(key: string): Series | undefined {
    const series = this.#series.get(key);
    this.#machine.cancel(series?.timer ?? null);
    this.#series.delete(key);
    return series;
  }
}

function measureOf(name: string): keyof MemoryState {
  const measure = MEMORY_MEASURES.find((known) => known === name);
  if (measure === undefined)
    throw new PythonError("ValueError", `measure must be one of ${MEMORY_MEASURES.join(", ")}; got ${name}`);
  return measure;
}
