import { type Profiler, Session } from "node:inspector";

/**
 * Time between two samples. V8's default of a millisecond would leave some dozens for a repeat; at this rate
 * sampling costs some per cent of the time.
 */
const SAMPLING_US = 200;

/** V8's sampling profiler on this thread. */
export class CpuProfiler {
  readonly #session = new Session();

  /** Samples are taken from here on. */
  async start(): Promise<void> {
    this.#session.connect();
    await this.#post("Profiler.enable");
    await this.#post("Profiler.setSamplingInterval", { interval: SAMPLING_US });
    await this.#post("Profiler.start");
  }

  /** What was sampled since the start. Times are microseconds of the machine's monotonic clock. */
  async stop(): Promise<Profiler.Profile> {
    const { profile } = (await this.#post("Profiler.stop")) as Profiler.StopReturnType;
    this.#session.disconnect();
    return profile;
  }

  #post(method: string, parameters: object = {}): Promise<object | undefined> {
    return new Promise((resolve, reject) => {
      this.#session.post(method, parameters, (error, result) => {
        if (error === null) resolve(result);
        else reject(new Error(`the profiler failed at ${method}: ${error.message}`));
      });
    });
  }
}
