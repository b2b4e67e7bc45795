import type { ClusterReader } from "../server/cluster-reader.ts";
import { html } from "../server/html.ts";
import { htmlReply, jsonReply, type Route, redirect } from "./http-server.ts";
import { page } from "./page.ts";

/** Workers on the status page: those with the most tasks come first. */
const WORKERS_MAX = 100;

/** `/status`: workers and tasks by state, kept up to date by the page's own script. */
export function statusRoutes(reader: ClusterReader, prefix: string): Route[] {
  return [
    { method: "GET", pattern: /^\/$/, answer: () => redirect(301, `${prefix}/status`) },
    { method: "GET", pattern: /^\/status$/, answer: () => htmlReply(statusPage(reader)) },
    { method: "GET", pattern: /^\/json\/status\.json$/, answer: () => jsonReply(statusJson(reader)) },
    asset(/^\/statics\/rsds\.js$/, "text/javascript; charset=utf-8", SCRIPT),
  ];
}

/** The stylesheet of all pages. */
export function styleRoute(): Route {
  return asset(/^\/statics\/rsds\.css$/, "text/css; charset=utf-8", STYLE);
}

function asset(pattern: RegExp, type: string, body: string): Route {
  return { method: "GET", pattern, answer: () => ({ status: 200, type, body }) };
}

/** What the page's script asks for once a second. */
function statusJson(reader: ClusterReader): unknown {
  const { cluster, server } = reader.context;
  const { forgotten, ...states } = reader.taskStates();
  const workers = reader.workers(Number.POSITIVE_INFINITY);
  workers.sort((a, b) => b.processing - a.processing);
  return {
    address: server.address,
    started_s: server.started_s,
    now_s: Date.now() / 1000,
    clients: cluster.clients.size,
    tasks: { ...states, forgotten },
    tasks_finished: reader.ledger.tasks_finished,
    workers_all: workers.length,
    threads: workers.reduce((sum, row) => sum + row.nthreads, 0),
    nbytes: workers.reduce((sum, row) => sum + row.nbytes, 0),
    worker_states: reader.workerStates(),
    workers: workers.slice(0, WORKERS_MAX),
  };
}

function statusPage(reader: ClusterReader): string {
  const body = html`<p id="connection" role="status">loading…</p>
<h2>Tasks</h2>
<table id="tasks"><tbody></tbody></table>
<h2>Workers</h2>
<p id="summary"></p>
<table id="workers"><thead><tr><th>Worker</th><th>Name</th><th>Status</th><th>Threads</th><th>Processing</th>
<th>In memory</th><th>CPU %</th><th>Memory</th><th>Limit</th></tr></thead><tbody></tbody></table>
<p id="more"></p>
<noscript>This page needs its script to show figures; <a href="json/status.json">the same as JSON</a>.</noscript>
<script src="statics/rsds.js"></script>`;
  return page(`Scheduler ${reader.context.server.address}`, "", body);
}

const STYLE = `:root { color-scheme: light dark; }
body { font: 14px/1.4 system-ui, sans-serif; margin: 1rem 1.5rem; }
nav a { margin-right: 1rem; }
h1 { font-size: 1.3rem; }
h2 { font-size: 1.1rem; }
table { border-collapse: collapse; }
th, td { border: 1px solid #8886; padding: .2rem .6rem; text-align: left; font-variant-numeric: tabular-nums; }
pre { white-space: pre-wrap; margin: 0; }
#connection.lost { color: #c33; font-weight: bold; }
`;

/** One request at a time, a second after the last was answered; none while the page is hidden. */
const SCRIPT = `"use strict";
const element = (id) => document.getElementById(id);
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
function bytesText(bytes) {
  if (bytes === null || bytes === undefined) return "";
  let unit = 0;
  while (bytes >= 1024 * 0.9 && unit < UNITS.length - 1) { bytes /= 1024; unit++; }
  return (unit === 0 ? bytes : bytes.toFixed(2)) + " " + UNITS[unit];
}
function row(cells) {
  const line = document.createElement("tr");
  for (const cell of cells) {
    const box = document.createElement("td");
    if (cell instanceof Node) box.append(cell);
    else box.textContent = cell;
    line.append(box);
  }
  return line;
}
function workerLink(address) {
  const link = document.createElement("a");
  link.href = "info/worker/" + encodeURIComponent(address) + ".html";
  link.textContent = address;
  return link;
}
function show(status) {
  const up = Math.round(status.now_s - status.started_s);
  element("connection").textContent = "up for " + up + " s, " + status.clients + " clients, " +
    status.tasks_finished + " tasks finished";
  element("tasks").tBodies[0].replaceChildren(
    row(Object.keys(status.tasks)), row(Object.values(status.tasks)));
  const states = Object.entries(status.worker_states).filter((pair) => pair[1] > 0);
  element("summary").textContent = status.workers_all + " workers, " + status.threads + " threads, " +
    bytesText(status.nbytes) + " of results" +
    (states.length === 0 ? "" : "; " + states.map((pair) => pair[1] + " " + pair[0].replaceAll("_", " ")).join(", "));
  element("workers").tBodies[0].replaceChildren(...status.workers.map((worker) => row([
    workerLink(worker.address), worker.name, worker.status, worker.nthreads, worker.processing, worker.in_memory,
    worker.cpu_percent === null ? "" : worker.cpu_percent, bytesText(worker.memory_bytes),
    worker.memory_limit_bytes === 0 ? "" : bytesText(worker.memory_limit_bytes)])));
  const hidden = status.workers_all - status.workers.length;
  element("more").textContent = hidden > 0 ? hidden + " more workers that process less are not shown" : "";
}
async function look() {
  try {
    if (!document.hidden) {
      const reply = await fetch("json/status.json", { signal: AbortSignal.timeout(10000), cache: "no-store" });
      if (!reply.ok) throw new Error("status " + reply.status);
      show(await reply.json());
      element("connection").className = "";
    }
  } catch (error) {
    element("connection").textContent = "no answer from the scheduler (" + error.message + "); trying again";
    element("connection").className = "lost";
  }
  setTimeout(look, 1000);
}
look();
`;
