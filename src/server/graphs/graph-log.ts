import { grown, type IntStack } from "../../base/typed-arrays.ts";

/** What happened to one `update-graph`; times in ns of the recorder's clock, 0: not yet, or never. */
export interface GraphRecord {
  readonly bytes: number;
  readonly submitted_ns: number;
  tasks: number;
  decode_ns: number;
  /** Waiting for the unpacker: in its queue, in its pipe, for its processor. */
  wait_ns: number;
  /** CPU that the unpacker used for it until its structure was known. */
  unpack_ns: number;
  order_ns: number;
  insert_ns: number;
  known_ns: number;
  /** The first compute-task of one of its tasks was handed to the socket; only while a tracer is on. */
  first_task_ns: number;
  /** Its last payload was there. */
  complete_ns: number;
}

/** One graph's waterfall in seconds: the first six are lengths, the last two are since its message was taken up. */
export interface GraphTimes {
  readonly bytes: number;
  readonly decode_s: number;
  readonly wait_s: number;
  readonly unpack_s: number;
  readonly order_s: number;
  readonly insert_s: number;
  readonly first_task_s: number;
  readonly last_task_s: number;
}

/** The graphs of one window: counts of all, the waterfalls of the largest. */
export class GraphLog {
  readonly #records_max: number;
  /** At most `records_max`, by what {@link known} calls them. */
  #records: GraphRecord[] = [];
  /** Graphs of which no task was sent yet, by their number. */
  readonly #unsent = new Map<number, GraphRecord>();
  #last_number = 0;
  /** By task id: the number of its graph, 0 for none of interest. */
  #graph_of = new Int32Array(0);
  /** Dependencies of all graphs that became known. */
  dependencies = 0;

  /** `records_max`: the largest graphs (in bytes) that are kept. */
  constructor(records_max: number) {
    this.#records_max = records_max;
  }

  get records(): readonly GraphRecord[] {
    return this.#records;
  }

  add(bytes: number, submitted_ns: number): GraphRecord {
    const record = newRecord(bytes, submitted_ns);
    if (this.#records.length < this.#records_max) this.#records.push(record);
    else this.#replaceSmallest(record);
    return record;
  }

  #replaceSmallest(record: GraphRecord): void {
    let smallest = 0;
    for (let i = 1; i < this.#records.length; i++)
      if (this.#records[i]!.bytes < this.#records[smallest]!.bytes) smallest = i;
    const old = this.#records[smallest]!;
    if (old.bytes >= record.bytes) return;
    this.#records[smallest] = record;
    for (const [number, unsent] of this.#unsent) if (unsent === old) this.#unsent.delete(number);
  }

  /** The graph's tasks are known: from here on the first of them to be sent is waited for. */
  known(record: GraphRecord, tasks: Int32Array): void {
    const kept = this.#records.includes(record) && record.first_task_ns === 0;
    // Ids are used again: those of a graph that is not kept must not count for one that is.
    if (!kept && this.#unsent.size === 0) return;
    const number = kept ? ++this.#last_number : 0;
    if (kept) this.#unsent.set(number, record);
    for (const task of tasks) {
      if (task >= this.#graph_of.length)
        this.#graph_of = grown(this.#graph_of, Math.max(1024, 2 * this.#graph_of.length, task + 1), 0);
      this.#graph_of[task] = number;
    }
  }

  /** Tasks whose compute-task was handed to the socket, once a packet; negative entries are none. */
  written(tasks: IntStack, now_ns: number): void {
    if (this.#unsent.size === 0) return;
    for (let i = 0; i < tasks.length; i++) {
      const task = tasks.items[i]!;
      if (task < 0 || task >= this.#graph_of.length) continue;
      const record = this.#unsent.get(this.#graph_of[task]!);
      if (record === undefined) continue;
      record.first_task_ns = now_ns;
      this.#unsent.delete(this.#graph_of[task]!);
    }
  }

  /** The largest first. */
  times(): GraphTimes[] {
    return this.#records.toSorted((a, b) => b.bytes - a.bytes).map(graphTimes);
  }
}

export function newRecord(bytes: number, submitted_ns: number): GraphRecord {
  return {
    bytes,
    submitted_ns,
    tasks: 0,
    decode_ns: 0,
    wait_ns: 0,
    unpack_ns: 0,
    order_ns: 0,
    insert_ns: 0,
    known_ns: 0,
    first_task_ns: 0,
    complete_ns: 0,
  };
}

export function graphTimes(record: GraphRecord): GraphTimes {
  const since = (ns: number): number => (ns === 0 ? 0 : (ns - record.submitted_ns) / 1e9);
  return {
    bytes: record.bytes,
    decode_s: record.decode_ns / 1e9,
    wait_s: record.wait_ns / 1e9,
    unpack_s: record.unpack_ns / 1e9,
    order_s: record.order_ns / 1e9,
    insert_s: record.insert_ns / 1e9,
    first_task_s: since(record.first_task_ns),
    last_task_s: since(Math.max(record.known_ns, record.complete_ns)),
  };
}
