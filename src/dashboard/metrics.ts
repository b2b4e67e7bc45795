import { readdirSync } from "node:fs";
import { monitorEventLoopDelay, PerformanceObserver } from "node:perf_hooks";
import type { ClusterReader } from "../server/cluster-reader.ts";

/** Dask's event loop ticks as often (`distributed.admin.tick.interval`). */
const TICK_MS = 20;

interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

/**
 * The text of `/metrics`, in Prometheus' format 0.0.4, by Dask's names where the value means the same
 * (distributed.http.scheduler.prometheus.core), and `rsds_…` for what Dask does not count.
 * The two figures that need watching, collections and ticks, are watched from the first request on: a scheduler
 * that nobody scrapes does not pay for them.
 */
export class Metrics {
  readonly #reader: ClusterReader;
  readonly #namespace: string;
  #watch: LoopWatch | null = null;

  /** `namespace`: Dask's `distributed.dashboard.prometheus.namespace`. */
  constructor(reader: ClusterReader, namespace: string) {
    this.#reader = reader;
    this.#namespace = namespace;
  }

  text(): string {
    this.#watch ??= new LoopWatch();
    const page = new Page();
    processMetrics(page);
    const prefix = this.#namespace === "" ? "scheduler" : `${this.#namespace}_scheduler`;
    this.#people(page, prefix);
    this.#tasks(page, prefix);
    this.#watch.write(page, prefix);
    this.#own(page);
    return page.text;
  }

  close(): void {
    this.#watch?.close();
    this.#watch = null;
  }

  #people(page: Page, prefix: string): void {
    const { cluster, registration } = this.#reader.context;
    const { clients, workers } = registration;
    page.gauge(`${prefix}_clients`, "Number of clients connected", cluster.clients.size);
    page.counter(
      `${prefix}_client_connections_added_total`,
      "Total number of client connections added",
      clients.added,
    );
    page.counter(
      `${prefix}_client_connections_removed_total`,
      "Total number of client connections removed",
      clients.removed,
    );
    page.gauge(
      `${prefix}_desired_workers`,
      "Number of workers scheduler needs for task graph",
      this.#reader.desiredWorkers(),
    );
    page.family(
      `${prefix}_workers`,
      "gauge",
      "Number of workers known by scheduler",
      byState(this.#reader.workerStates()),
    );
    page.counter(`${prefix}_workers_added_total`, "Total number of workers added", workers.added);
    page.counter(`${prefix}_workers_removed_total`, "Total number of workers removed", workers.removed);
  }

  #tasks(page: Page, prefix: string): void {
    const { forgotten, ...states } = this.#reader.taskStates();
    page.counter(
      `${prefix}_tasks_forgotten_total`,
      "Total number of processed tasks no longer in memory and already removed from the scheduler job queue",
      forgotten,
    );
    page.family(`${prefix}_tasks`, "gauge", "Number of tasks known by scheduler", byState(states));
  }

  #own(page: Page): void {
    for (const [name, value] of Object.entries(this.#reader.ledger))
      page.counter(`rsds_${name}_total`, OWN_HELP.get(name) ?? name, value);
  }
}

const OWN_HELP = new Map([
  ["tasks_sent", "Assignments of tasks that were sent to workers"],
  ["tasks_finished", "Reports of finished tasks that counted"],
  ["steals_asked", "Tasks that workers were asked to give up for others"],
  ["steals_done", "Tasks that moved to another worker"],
  ["recomputed", "Tasks that finished again after their result was lost"],
]);

/** What the loop does, seen from outside of it. */
class LoopWatch {
  readonly #ticks = monitorEventLoopDelay({ resolution: TICK_MS });
  readonly #observer: PerformanceObserver;
  readonly #since_s = performance.now() / 1000;
  #gc_s = 0;
  #tick_count = 0;

  constructor() {
    this.#ticks.enable();
    this.#observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) this.#gc_s += entry.duration / 1000;
    });
    this.#observer.observe({ entryTypes: ["gc"] });
  }

  close(): void {
    this.#ticks.disable();
    this.#observer.disconnect();
  }

  write(page: Page, prefix: string): void {
    const { count, max } = this.#ticks;
    this.#ticks.reset();
    this.#tick_count += count;
    page.counter(
      `${prefix}_gc_collection_seconds_total`,
      "Total time spent on garbage collection",
      this.#gc_s,
    );
    page.counter(`${prefix}_last_time_total`, "SystemMonitor last time", performance.now() / 1000);
    page.gauge(
      `${prefix}_tick_duration_maximum_seconds`,
      "Maximum tick duration observed since Prometheus last scraped metrics",
      count === 0 ? Math.min(TICK_MS / 1000, performance.now() / 1000 - this.#since_s) : max / 1e9,
    );
    page.counter(
      `${prefix}_tick_count_total`,
      "Total number of ticks observed since metrics were first scraped",
      this.#tick_count,
    );
  }
}

/** The figures of the process that every Prometheus client library gives. */
function processMetrics(page: Page): void {
  const { rss } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  page.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", rss);
  page.gauge(
    "process_start_time_seconds",
    "Start time of the process since unix epoch in seconds.",
    Math.round(performance.timeOrigin) / 1000,
  );
  page.counter(
    "process_cpu_seconds_total",
    "Total user and system CPU time spent in seconds.",
    (user + system) / 1e6,
  );
  if (process.platform !== "linux") return;
  page.gauge(
    "process_open_fds",
    "Number of open file descriptors.",
    // The reading itself has one open.
    readdirSync("/proc/self/fd").length - 1,
  );
}

function byState(counts: object): Sample[] {
  return Object.entries(counts).map(([state, value]: [string, number]) => ({ labels: { state }, value }));
}

/** Lines of the format: for each family what it is, then its samples. */
class Page {
  text = "";

  gauge(name: string, help: string, value: number): void {
    this.family(name, "gauge", help, [{ value }]);
  }

  counter(name: string, help: string, value: number): void {
    this.family(name, "counter", help, [{ value }]);
  }

  family(name: string, kind: "gauge" | "counter", help: string, samples: readonly Sample[]): void {
    this.text += `# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n`;
    for (const { labels, value } of samples) {
      const pairs = Object.entries(labels ?? {}).map(([label, text]) => `${label}="${escaped(text)}"`);
      this.text += `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}\n`;
    }
  }
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
