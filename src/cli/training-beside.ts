import type { Log } from "../server/peers/log.ts";
import type { ServerOptions } from "../server/peers/options.ts";
import type { SchedulerServer } from "../server/server.ts";

/**
 * From when Python can open graphs: workers that start on the same machine, and a first graph that is sent at once, need the
 * processor more.
 */
const QUIET_MS = 2_000;

/**
 * Has a running scheduler's code compiled while nobody needs it: once nothing has been asked of it for a while, until that is done,
 * the first graph comes, a window of the tracing opens, or {@link stop} is called. What fails is logged, and costs nothing but speed.
 */
export class TrainingBeside {
  readonly #abort = new AbortController();
  /** Resolves when nothing of it is left in this process but compiled code. */
  readonly ended: Promise<void>;

  constructor(
    server: SchedulerServer,
    {
      scheduler,
      log,
      trace,
      zero_workers,
    }: Pick<ServerOptions, "scheduler" | "log" | "trace" | "zero_workers">,
  ) {
    const { arrivals, followers } = server.intake;
    const onGraph = (): void => this.#abort.abort();
    followers.add(onGraph);
    arrivals.add(onGraph);
    server.live.before = () => this.stop();
    // Whoever traces waits for it, and a fleet of our own needs no Python.
    const quiet = trace === "off" && zero_workers === 0 ? this.#quiet(server) : Promise.resolve();
    this.ended = quiet
      .then(() => this.#train(scheduler, log))
      .finally(() => {
        followers.delete(onGraph);
        arrivals.delete(onGraph);
        server.live.before = null;
      });
  }

  stop(): Promise<void> {
    this.#abort.abort();
    return this.ended;
  }

  #quiet(server: SchedulerServer): Promise<void> {
    return new Promise((resolve) => {
      this.#abort.signal.addEventListener("abort", () => resolve(), { once: true });
      void server.pythonReady().then(() => setTimeout(resolve, QUIET_MS).unref());
    });
  }

  async #train(scheduler: string, log: Log): Promise<void> {
    if (this.#abort.signal.aborted) return;
    try {
      const { train } = await import("../../simulator/run/training.ts");
      const training = await train(
        {
          scheduler,
          transport: "tcp",
          release: "2026.8",
          flush: "turn",
          order: false,
          trace: "off",
          seed: 1,
        },
        this.#abort.signal,
      );
      if (training !== null)
        log.write(
          "DEBUG",
          `Trained in ${training.seconds.toFixed(1)} s, ${training.cpu_s.toFixed(1)} s of CPU`,
        );
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      log.write("WARNING", `The scheduler could not be trained, its first tasks will be slow: ${text}`);
    }
  }
}
