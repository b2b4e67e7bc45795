import { grouped } from "../../base/grouped.ts";
import { keySplit } from "../../base/key-split.ts";
import { keyText } from "../../protocol/keys.ts";
import { RawValue, toNumber, WireMap, type WireValue } from "../../protocol/values.ts";
import { bytesText, type Html, html, table } from "../html.ts";
import type { Handler, RpcContext } from "../rpc/context.ts";
import type { Request } from "../rpc/request.ts";
import type { TaskStream } from "./task-stream.ts";
import type { WorkerQuestions } from "./worker-questions.ts";

/** Bars of the task stream: more could not be told apart, and would make a page that no browser likes. */
const BARS_MAX = 5000;
const FUNCTIONS_MAX = 30;
const CHART = { width: 960, row: 14, label: 190 } as const;
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a6a00", "#555555"];

interface Action {
  readonly worker: string;
  readonly thread: string;
  readonly prefix: string;
  readonly what: string;
  readonly start_s: number;
  readonly stop_s: number;
}

/**
 * `performance_report {start, code}`: a page by itself, without scripts, of what ran since `start`: sums by kind of task, each
 * thread's time line, the workers, and where their threads' time went by their own profiles.
 */
export class PerformanceReport {
  readonly handlers: readonly (readonly [string, Handler])[] = [
    ["performance_report", (request, context) => this.#report(request, context)],
  ];
  readonly #stream: TaskStream;
  readonly #questions: WorkerQuestions;
  readonly #now_ms: () => number;

  constructor(stream: TaskStream, questions: WorkerQuestions, now_ms: () => number) {
    this.#stream = stream;
    this.#questions = questions;
    this.#now_ms = now_ms;
  }

  async #report(request: Request, context: RpcContext): Promise<string> {
    const stop_s = this.#now_ms() / 1000;
    const start_s = request.optionalNumber("start") ?? stop_s;
    const records = this.#stream.since(start_s);
    const actions = records.flatMap(actionsOf);
    const profile = await this.#questions.profileOf({ start_s, stop_s }, context);
    const body = [
      summary({ actions, records: records.length, start_s, stop_s }, context),
      html`<h2>Kinds of tasks</h2>${byPrefix(actions)}`,
      html`<h2>Task stream</h2>${chart(actions, start_s, stop_s)}`,
      html`<h2>Workers</h2>${workers(actions, context)}`,
      html`<h2>Where the workers' threads were</h2>${functions(profile)}`,
      html`<h2>Calling code</h2><pre>${request.optionalString("code") ?? ""}</pre>`,
    ];
    return html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Dask Performance Report</title>
<style>
:root { color-scheme: light dark; }
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
table { border-collapse: collapse; } th, td { text-align: left; padding: 0.15em 1em 0.15em 0; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
svg { max-width: 100%; } svg text { font: 11px sans-serif; fill: currentColor; }
</style>
</head>
<body>
<h1>Dask Performance Report</h1>
${body}
</body>
</html>
`.text;
  }
}

function actionsOf(record: WireMap): Action[] {
  const startstops = record.get("startstops");
  const key = record.get("key");
  const prefix = key instanceof RawValue ? keySplit(keyText(key.bytes)) : "";
  const actions: Action[] = [];
  for (const item of Array.isArray(startstops) ? startstops : []) {
    if (!(item instanceof WireMap)) continue;
    actions.push({
      worker: String(record.get("worker")),
      thread: String(record.get("thread") ?? ""),
      prefix,
      what: String(item.get("action")),
      start_s: toNumber(item.get("start")) ?? 0,
      stop_s: toNumber(item.get("stop")) ?? 0,
    });
  }
  return actions;
}

function secondsOf(actions: readonly Action[], what: string | null = null): number {
  return actions.reduce(
    (sum, one) => sum + (what === null || one.what === what ? one.stop_s - one.start_s : 0),
    0,
  );
}

function secondsText(seconds: number): string {
  return seconds < 1 ? `${(seconds * 1000).toFixed(1)} ms` : `${seconds.toFixed(2)} s`;
}

function summary(
  report: {
    readonly actions: readonly Action[];
    readonly records: number;
    readonly start_s: number;
    readonly stop_s: number;
  },
  { cluster, server }: RpcContext,
): Html {
  const { actions, records, start_s, stop_s } = report;
  const peers = [...cluster.workers.values()];
  const threads = peers.reduce((sum, peer) => sum + peer.nthreads, 0);
  const kinds = [...new Set(actions.map(({ what }) => what))].sort();
  const rows: [string, string][] = [
    ["Duration", secondsText(stop_s - start_s)],
    ["Tasks", String(records)],
    ...kinds.map((what): [string, string] => [`${what} time`, secondsText(secondsOf(actions, what))]),
    ["Workers", String(peers.length)],
    ["Threads", String(threads)],
    ["Memory", bytesText(peers.reduce((sum, peer) => sum + peer.memory_limit_bytes, 0))],
    ["Scheduler", `rsds ${server.version}`],
  ];
  return table(["", new Date(start_s * 1000).toISOString()], rows);
}

function byPrefix(actions: readonly Action[]): Html {
  const rows = [...grouped(actions, ({ prefix }) => prefix)]
    .map(([prefix, own]) => ({ prefix, own, compute_s: secondsOf(own, "compute") }))
    .sort((a, b) => b.compute_s - a.compute_s)
    .map(({ prefix, own, compute_s }) => {
      const runs = own.filter(({ what }) => what === "compute").length;
      return [
        prefix,
        runs,
        secondsText(compute_s),
        runs === 0 ? "" : secondsText(compute_s / runs),
        secondsText(secondsOf(own, "transfer")),
      ];
    });
  return table(["kind", "runs", "compute", "mean", "transfer"], rows);
}

/** A row for each thread; transfers and what is on disk in grey. */
function chart(actions: readonly Action[], start_s: number, stop_s: number): Html {
  const shown =
    actions.length <= BARS_MAX
      ? actions
      : [...actions].sort((a, b) => b.stop_s - b.start_s - (a.stop_s - a.start_s)).slice(0, BARS_MAX);
  const rows = [...grouped(shown, ({ worker, thread }) => `${worker} ${thread}`)].sort(([a], [b]) =>
    a < b ? -1 : 1,
  );
  const colours = new Map([...grouped(shown, ({ prefix }) => prefix).keys()].map((name, i) => [name, i]));
  const scale = (CHART.width - CHART.label) / Math.max(stop_s - start_s, 1e-6);
  const bars = rows.flatMap(([name, own], row) => {
    const y = row * CHART.row;
    const label = html`<text x="0" y="${y + 11}">${name.split(" ")[0]!}</text>`;
    return [label, ...own.map((one) => bar(one, y, start_s, scale, colours))];
  });
  const note = shown.length < actions.length ? `The ${BARS_MAX} longest of ${actions.length} spans. ` : "";
  return html`<p>${note}From ${0} to ${secondsText(stop_s - start_s)}; a row is a thread, grey is not computing.</p>
<svg role="img" viewBox="0 0 ${CHART.width} ${Math.max(1, rows.length) * CHART.row}">${bars}</svg>`;
}

function bar(
  one: Action,
  y: number,
  start_s: number,
  scale: number,
  colours: ReadonlyMap<string, number>,
): Html {
  const x = CHART.label + Math.max(0, one.start_s - start_s) * scale;
  const width = Math.max(0.5, (one.stop_s - one.start_s) * scale);
  const colour = one.what === "compute" ? COLOURS[colours.get(one.prefix)! % COLOURS.length]! : "#999999";
  const title = `${one.prefix} ${one.what} ${secondsText(one.stop_s - one.start_s)}`;
  return html`<rect x="${x.toFixed(2)}" y="${y + 1}" width="${width.toFixed(2)}" height="${CHART.row - 2}" fill="${colour}"><title>${title}</title></rect>`;
}

function workers(actions: readonly Action[], { cluster }: RpcContext): Html {
  const by_worker = grouped(actions, ({ worker }) => worker);
  const rows = [...cluster.workers.values()].map((peer) => {
    const own = by_worker.get(peer.address) ?? [];
    return [
      peer.address,
      String(peer.name),
      peer.nthreads,
      bytesText(peer.memory_limit_bytes),
      own.filter(({ what }) => what === "compute").length,
      secondsText(secondsOf(own, "compute")),
    ];
  });
  return table(["address", "name", "threads", "memory", "runs", "compute"], rows);
}

/** The profile's frames by what was seen in them and not below them. */
function functions(profile: WireMap): Html {
  const total = toNumber(profile.get("count")) ?? 0;
  if (total === 0) return html`<p>Nothing was seen: the workers' profilers look every ten milliseconds.</p>`;
  const own = new Map<string, number>();
  const stack = [profile];
  for (let frame = stack.pop(); frame !== undefined; frame = stack.pop()) {
    const children = frame.get("children");
    let count = toNumber(frame.get("count")) ?? 0;
    for (const child of children instanceof WireMap ? children.values : []) {
      if (!(child instanceof WireMap)) continue;
      count -= toNumber(child.get("count")) ?? 0;
      stack.push(child);
    }
    const name = frameName(frame.get("description") ?? null);
    if (count > 0 && name !== "") own.set(name, (own.get(name) ?? 0) + count);
  }
  const rows = [...own]
    .sort(([, a], [, b]) => b - a)
    .slice(0, FUNCTIONS_MAX)
    .map(([name, count]) => [name, `${((100 * count) / total).toFixed(1)} %`]);
  return table(["function", "share of samples, its own"], rows);
}

function frameName(description: WireValue): string {
  if (!(description instanceof WireMap)) return "";
  const name = String(description.get("name") ?? "");
  return name === ""
    ? ""
    : `${name} (${String(description.get("filename"))}:${String(description.get("line_number"))})`;
}
