import { keyText } from "../protocol/keys.ts";
import { RawValue, WireMap, type WireValue } from "../protocol/values.ts";
import type { ClusterReader, WorkerRow } from "../server/cluster-reader.ts";
import { bytesText, type Html, html, table } from "../server/html.ts";
import { formatRecord } from "../server/peers/log.ts";
import { PythonError } from "../server/rpc/python-error.ts";
import { UnreachableError } from "../server/rpc/worker-pool.ts";
import { htmlReply, plainReply, type Reply, type Route, redirect } from "./http-server.ts";
import { page } from "./page.ts";

/** A page lists no more rows than this, and says so. */
const ROWS_MAX = 1_000;
const LOG_LINES_MAX = 1_000;
/** A worker that does not answer by then is shown as such. */
const WORKER_MS_MAX = 5_000;
const NOT_FOUND = plainReply(404, "404: Not Found");
const ROOT = "../../";

/** Dask's pages below `/info`, as plain HTML. */
export function infoRoutes(reader: ClusterReader): Route[] {
  const get = (pattern: RegExp, answer: (name: string) => Reply | Promise<Reply>): Route => {
    return { method: "GET", pattern, answer: (_request, [name = ""]) => answer(name) };
  };
  return [
    get(/^\/info$/, () => redirect(302, "info/main/workers.html")),
    get(/^\/info\/main\/workers\.html$/, () => workersPage(reader)),
    get(/^\/info\/main\/exceptions\.html$/, () => exceptionsPage(reader)),
    get(/^\/info\/main\/logs\.html$/, () => logsPage("Logs", ownLines(reader))),
    get(/^\/info\/worker\/(.+)\.html$/s, (address) => workerPage(reader, address)),
    get(/^\/info\/task\/(.+)\.html$/s, (key) => taskPage(reader, key)),
    get(/^\/info\/logs\/(.+)\.html$/s, (address) => workerLogsPage(reader, address)),
    get(/^\/info\/call-stacks\/(.+)\.html$/s, (address) => workerStacksPage(reader, address)),
    get(/^\/info\/call-stack\/(.+)\.html$/s, (key) => taskStackPage(reader, key)),
  ];
}

function workersPage(reader: ClusterReader): Reply {
  const rows = reader.workers(ROWS_MAX);
  const title = `Scheduler ${reader.context.server.address}`;
  const body = html`${workerTable(rows)}${remainder(rows.length, reader.context.cluster.workers.size)}`;
  return htmlReply(page(title, ROOT, body));
}

function workerTable(rows: readonly WorkerRow[]): Html {
  const head = ["Worker", "Name", "Status", "Cores", "Memory", "Memory use", "Processing", "In-memory"];
  return table(
    [...head, "Logs", "Last seen"],
    rows.map((row) => [
      link("worker", row.address, row.address),
      row.name,
      row.status,
      row.nthreads,
      row.memory_limit_bytes === 0 ? "" : bytesText(row.memory_limit_bytes),
      row.memory_bytes === null ? "" : bytesText(row.memory_bytes),
      row.processing,
      row.in_memory,
      link("logs", row.address, "logs"),
      `${Math.max(0, Date.now() / 1000 - row.last_seen_s).toFixed(1)} s`,
    ]),
  );
}

function exceptionsPage(reader: ClusterReader): Reply {
  const failures = reader.failures(ROWS_MAX);
  const rows = failures.map(({ key, worker, exception_text, traceback_text }) => [
    link("task", key, key),
    worker,
    html`<pre>${exception_text}\n${traceback_text}</pre>`,
  ]);
  const body = html`${table(["Task", "Worker", "Exception"], rows)}
${remainder(rows.length, reader.taskStates().erred)}`;
  return htmlReply(page("Exceptions", ROOT, body));
}

function workerPage(reader: ClusterReader, address: string): Reply {
  const row = reader.worker(address);
  const keys = reader.processing(address, ROWS_MAX);
  if (row === null || keys === null) return NOT_FOUND;
  const body = html`${workerTable([row])}
<h2>Processing</h2>
<p>${link("call-stacks", address, "Call stacks")}</p>
${table(
  ["Task"],
  keys.map((key) => [link("task", key, key)]),
)}
${remainder(keys.length, row.processing)}`;
  return htmlReply(page(`Worker: ${address}`, ROOT, body));
}

function taskPage(reader: ClusterReader, name: string): Reply {
  const task = reader.task(name);
  if (task === null) return NOT_FOUND;
  const keys = (names: readonly string[]): Html => html`${names.map((key) => link("task", key, key))}`;
  const workers = task.worker === null ? task.holders : [task.worker];
  const body = html`${table(
    ["", ""],
    [
      ["State", task.state],
      ["Prefix", task.prefix],
      ["Size", task.nbytes < 0 ? "unknown" : bytesText(task.nbytes)],
      ["On", html`${workers.map((address) => link("worker", address, address))}`],
      ["Dependencies", keys(task.dependencies)],
      ["Dependents", keys(task.dependents)],
      ["Exception", html`<pre>${task.exception_text ?? ""}</pre>`],
    ],
  )}
<p>${link("call-stack", task.key, "Call stack")}</p>`;
  return htmlReply(page(`Task: ${task.key}`, ROOT, body));
}

function ownLines(reader: ClusterReader): string[] {
  return reader.context.log.records.slice(-LOG_LINES_MAX).reverse().map(formatRecord);
}

function logsPage(title: string, lines: readonly string[]): Reply {
  return htmlReply(page(title, ROOT, html`<pre>${lines.join("\n")}</pre>`));
}

async function workerLogsPage(reader: ClusterReader, address: string): Promise<Reply> {
  if (!reader.context.cluster.workers.has(address)) return NOT_FOUND;
  const answer = await ask(reader, address, WireMap.of({ op: "get_logs", n: LOG_LINES_MAX }));
  const lines = Array.isArray(answer) ? answer.map(lineOf) : [String(answer)];
  return logsPage(`Logs: ${address}`, lines);
}

/** A worker's log is a list of [level, line]. */
function lineOf(entry: WireValue): string {
  return Array.isArray(entry) ? String(entry[1] ?? "") : String(entry);
}

async function workerStacksPage(reader: ClusterReader, address: string): Promise<Reply> {
  if (!reader.context.cluster.workers.has(address)) return NOT_FOUND;
  const answer = await ask(reader, address, WireMap.of({ op: "call_stack", keys: null }));
  return stacksPage(`Call Stacks: ${address}`, answer);
}

async function taskStackPage(reader: ClusterReader, name: string): Promise<Reply> {
  if (reader.task(name) === null) return NOT_FOUND;
  const running = reader.runningKey(name);
  if (running === null) {
    const text = html`<p>Task not actively running. It may be finished or not yet started</p>`;
    return htmlReply(page(`Call Stack: ${name}`, ROOT, text));
  }
  const message = WireMap.of({ op: "call_stack", keys: [new RawValue(running.key)] });
  return stacksPage(`Call Stack: ${name}`, await ask(reader, running.worker, message));
}

function stacksPage(title: string, answer: WireValue | string): Reply {
  if (!(answer instanceof WireMap)) return logsPage(title, [String(answer)]);
  const parts = answer.keys.map((key, i) => {
    const frames = answer.values[i];
    const text = Array.isArray(frames) ? frames.map(String).join("\n") : String(frames);
    const name = key instanceof RawValue ? keyText(key.bytes) : String(key);
    return html`<h2>${name}</h2><pre>${text}</pre>`;
  });
  return htmlReply(page(title, ROOT, html`${parts}`));
}

/** The worker's answer, or a sentence where there is none. */
async function ask(reader: ClusterReader, address: string, message: WireMap): Promise<WireValue> {
  try {
    return await reader.context.pool.request(address, message, WORKER_MS_MAX);
  } catch (error) {
    if (error instanceof UnreachableError || error instanceof PythonError) return error.message;
    throw error;
  }
}

function remainder(shown: number, all: number): Html {
  return html`${all > shown ? `The first ${shown} of ${all}.` : ""}`;
}

function link(kind: string, name: string, text: string): Html {
  return html`<a href="${ROOT}info/${kind}/${encodeURIComponent(name)}.html">${text}</a> `;
}
