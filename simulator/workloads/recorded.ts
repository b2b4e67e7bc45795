import { readFile, stat } from "node:fs/promises";
import { basename } from "node:path";
import { gunzipSync } from "node:zlib";
import { RunReader } from "./recorded-run.ts";
import { sinks, TASKS_MAX, type Workload, WorkloadError } from "./workload.ts";

/** Bytes of a file, and of what is in it: half a gigabyte holds TASKS_MAX short lines. */
const FILE_BYTES_MAX = 1 << 28;
const CONTENT_BYTES_MAX = 1 << 29;
const LINE_BYTES_MAX = 1 << 26;

/**
 * Reads a recorded graph: gzip of JSON lines, first a header object, then for each task
 * `[id, prefix, [dependency ids], duration_us, nbytes]`, ids from 0 in the order of priority, which is a
 * topological one. A duration or size may be missing or null (0). Further columns have the names that the header's
 * `columns` gives them ({@link RunReader}); unknown ones, and unknown fields of the header, are ignored. Throws {@link WorkloadError}.
 */
export async function readRecorded(path: string): Promise<Workload> {
  const content = unzip(await readFileOrFail(path), path);
  const reader = new LineReader(content, path);
  const header = reader.next();
  if (header === undefined)
    throw new WorkloadError(`${path} is empty: a recorded graph starts with a header line`);
  if (typeof header !== "object" || header === null || Array.isArray(header))
    throw reader.fault("the first line must be the header object of a recorded graph");
  const graph = new GraphReader(reader, header);
  for (let row = reader.next(); row !== undefined; row = reader.next()) graph.add(row);
  return graph.finish(nameOf(header, path));
}

async function readFileOrFail(path: string): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size > FILE_BYTES_MAX)
      throw new WorkloadError(`${path} has ${size} bytes: a recorded graph may have ${FILE_BYTES_MAX}`);
    return await readFile(path);
  } catch (error) {
    if (error instanceof WorkloadError) throw error;
    if (!(error instanceof Error && "code" in error)) throw error;
    if (error.code === "ENOENT")
      throw new WorkloadError(`no file ${path}: give the path of a recorded graph`);
    throw new WorkloadError(`cannot read ${path}: ${error.message}`);
  }
}

function unzip(bytes: Buffer, path: string): Buffer {
  try {
    return gunzipSync(bytes, { maxOutputLength: CONTENT_BYTES_MAX });
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    if (error.code === "ERR_BUFFER_TOO_LARGE")
      throw new WorkloadError(`${path} holds more than ${CONTENT_BYTES_MAX} bytes: record a smaller graph`);
    throw new WorkloadError(
      `${path} is not a whole gzip file (${error.message}): compress the JSON lines with gzip`,
    );
  }
}

/** One JSON value a line; knows the number of the line that it gave last. */
class LineReader {
  readonly #content: Buffer;
  readonly #path: string;
  #at = 0;
  #line = 0;

  constructor(content: Buffer, path: string) {
    this.#content = content;
    this.#path = path;
  }

  get line(): number {
    return this.#line;
  }

  next(): unknown {
    if (this.#at >= this.#content.length) return undefined;
    const found = this.#content.indexOf(0x0a, this.#at);
    const end = found < 0 ? this.#content.length : found;
    this.#line++;
    if (end - this.#at > LINE_BYTES_MAX) throw this.fault(`a line may have ${LINE_BYTES_MAX} bytes`);
    const text = this.#content.toString("utf8", this.#at, end);
    this.#at = end + 1;
    try {
      return JSON.parse(text);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw this.fault("not JSON");
    }
  }

  fault(what: string, line = this.#line): WorkloadError {
    return new WorkloadError(`${this.#path}, line ${line}: ${what}`);
  }
}

class GraphReader {
  readonly #reader: LineReader;
  readonly #prefix_ids = new Map<string, number>();
  readonly #prefixes: string[] = [];
  readonly #prefix_of: number[] = [];
  readonly #offsets: number[] = [0];
  readonly #deps: number[] = [];
  readonly #durations_us: number[] = [];
  readonly #nbytes: number[] = [];
  /** The first dependency on a later task: which fault that is shows at the end. */
  #forward: { line: number; id: number; dep: number } | null = null;

  readonly #header: object;
  readonly #run: RunReader | null;

  constructor(reader: LineReader, header: object) {
    this.#reader = reader;
    this.#header = header;
    this.#run = RunReader.of(header, (what) => reader.fault(what));
  }

  add(row: unknown): void {
    const id = this.#prefix_of.length;
    if (id >= TASKS_MAX) throw this.#reader.fault(`a workload may have ${TASKS_MAX} tasks`);
    if (!Array.isArray(row))
      throw this.#reader.fault("a task must be [id, prefix, [dependency ids], duration_us, nbytes]");
    const [row_id, prefix, deps, duration_us, nbytes] = row as unknown[];
    if (row_id !== id) throw this.#reader.fault(`the id must be ${id}: ids count from 0 without gaps`);
    if (typeof prefix !== "string" || prefix === "") throw this.#reader.fault("the prefix must be a text");
    if (!Array.isArray(deps)) throw this.#reader.fault("the dependencies must be an array of ids");
    this.#addDependencies(id, deps);
    this.#prefix_of.push(this.#prefixId(prefix));
    this.#durations_us.push(this.#quantity(duration_us, "duration_us"));
    this.#nbytes.push(this.#quantity(nbytes, "nbytes"));
    this.#run?.add(row, deps as readonly number[]);
  }

  finish(name: string): Workload {
    const header = this.#header;
    const tasks = this.#prefix_of.length;
    if (this.#forward !== null) {
      const { line, id, dep } = this.#forward;
      if (dep >= tasks)
        throw this.#reader.fault(`task ${id} depends on ${dep}, but the last id is ${tasks - 1}`, line);
      if (dep === id) throw this.#reader.fault(`task ${id} depends on itself`, line);
      throw this.#reader.fault(
        `task ${id} depends on ${dep}, which comes later: sort the tasks, remove cycles`,
        line,
      );
    }
    if (tasks === 0) throw this.#reader.fault("no task follows the header");
    if ("tasks" in header && header.tasks !== tasks)
      throw this.#reader.fault(
        `the header counts ${header.tasks} tasks, the file has ${tasks}: is it cut off?`,
      );
    const dependency_ids = Uint32Array.from(this.#deps);
    const prefixes = this.#prefixes;
    const prefix_of = Uint32Array.from(this.#prefix_of);
    const recorded = this.#run?.finish() ?? null;
    return {
      name,
      tasks,
      dependencies: dependency_ids.length,
      key: (id) => `${prefixes[prefix_of[id]!]}-${id}`,
      dependency_offsets: Uint32Array.from(this.#offsets),
      dependency_ids,
      wanted: this.#run?.wanted(sinks(tasks, dependency_ids)) ?? sinks(tasks, dependency_ids),
      durations_us: Float64Array.from(this.#durations_us),
      nbytes: Float64Array.from(this.#nbytes),
      ...(recorded === null ? {} : { recorded }),
    };
  }

  #addDependencies(id: number, deps: readonly unknown[]): void {
    const seen = new Set<number>();
    for (const dep of deps) {
      if (typeof dep !== "number" || !Number.isInteger(dep) || dep < 0)
        throw this.#reader.fault("the dependencies must be an array of ids");
      if (seen.has(dep)) throw this.#reader.fault(`task ${id} names its dependency ${dep} twice`);
      seen.add(dep);
      if (dep >= id) this.#forward ??= { line: this.#reader.line, id, dep };
      this.#deps.push(dep);
    }
    this.#offsets.push(this.#deps.length);
  }

  #prefixId(prefix: string): number {
    let id = this.#prefix_ids.get(prefix);
    if (id === undefined) {
      id = this.#prefixes.push(prefix) - 1;
      this.#prefix_ids.set(prefix, id);
    }
    return id;
  }

  #quantity(value: unknown, what: string): number {
    if (value === undefined || value === null) return 0;
    if (typeof value !== "number" || !(value >= 0))
      throw this.#reader.fault(`${what} must be a number, 0 or more`);
    return value;
  }
}

/** The header's own name where it can stand in a file's name, else the name of the file. */
function nameOf(header: object, path: string): string {
  const given = "name" in header && typeof header.name === "string" ? header.name : "";
  if (/^[A-Za-z0-9][A-Za-z0-9.+:_-]{0,99}$/.test(given)) return given;
  const file = basename(path).replace(/(\.jsonl)?(\.gz)?$/, "");
  return file.replace(/[^A-Za-z0-9.+:_-]/g, "_").slice(0, 100) || "recorded";
}
