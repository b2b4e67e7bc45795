import { InvariantError } from "../../src/base/assert.ts";
import { NONE } from "../../src/base/ids.ts";
import { ERRED, MEMORY, PROCESSING, STATE_NAMES } from "../../src/core/states.ts";
import { story } from "../../src/core/validate.ts";
import { keyBytes, keyText } from "../../src/protocol/keys.ts";
import { toNumber, WireMap, type WireValue } from "../../src/protocol/values.ts";
import type { WorkerPeer } from "../../src/server/peers/cluster.ts";
import type { SchedulerServer } from "../../src/server/server.ts";
import type { ReleaseTraits } from "../fleet/release.ts";

/** What the messages on a worker's stream say that it has to do. */
interface WorkerStream {
  readonly address: string;
  /** compute-task out, neither reported nor taken back: by key the run. */
  readonly promised: Map<string, number>;
  /** steal-request out, by its stimulus_id: the run that it is about. */
  readonly asked: Map<string, number | undefined>;
  last_run_id: number;
}

/** What a client was told last of each key that it asked for. */
interface ClientStream {
  readonly name: string;
  readonly told: Map<string, string>;
}

const GIVEN_UP: ReadonlySet<WireValue | undefined> = new Set(["ready", "constrained", "waiting"]);
const TOLD: ReadonlySet<string> = new Set(["key-in-memory", "task-erred", "lost-data", "task-retried"]);
/** Of a key that is neither in memory nor erred, nobody may have been told so last. */
const FINAL: ReadonlySet<string> = new Set(["key-in-memory", "task-erred"]);

/**
 * Follows the messages on every stream, and compares after each turn what they promise with what the scheduler's books
 * say (INVARIANTS M2, M4, M7–M9, C3): each compute-task that is out is a task that the worker processes under that very
 * run, and there is no other; what a client was told last is the state that its key is in.
 */
export class StreamChecker {
  readonly #server: SchedulerServer;
  readonly #traits: ReleaseTraits;
  readonly #count: (what: string) => void;
  readonly #workers = new Map<object, WorkerStream>();
  readonly #by_address = new Map<string, WorkerStream>();
  readonly #clients = new Map<object, ClientStream>();
  /** How often a worker was lost that had the task: at least as often as the scheduler may suspect it. */
  readonly suspicions = new Map<string, number>();
  /** Keys of which a copy was lost: with its worker, or as a worker said. */
  readonly lost = new Set<string>();
  /** compute-tasks seen so far. */
  compute_tasks = 0;

  /** `count` is told what is worth counting. */
  constructor(server: SchedulerServer, traits: ReleaseTraits, count: (what: string) => void) {
    this.#server = server;
    this.#count = count;
    this.#traits = traits;
    const suspect = (peer: WorkerPeer): void => {
      for (const key of server.cluster.processing(peer).map(keyText))
        this.suspicions.set(key, (this.suspicions.get(key) ?? 0) + 1);
      for (const key of server.cluster.hasWhat(peer)) {
        this.lost.add(keyText(key));
        const { books } = server.scheduler;
        const task = books.keys.findKey(key);
        if (books.isActor(task) && books.actorHome(task) === server.cluster.book(peer).id)
          count("actor lost with its worker");
      }
    };
    const { workers } = server.peers.context.registration;
    workers.watchers.add({ onWorkerRemoving: suspect, onWorkerRemoved: () => undefined });
  }

  /** The server has written a message. */
  out(wire: object, value: WireValue): void {
    const worker = this.#workers.get(wire);
    const client = this.#clients.get(wire);
    if (worker !== undefined && value instanceof WireMap && value.get("status") === "OK") {
      this.#by_address.set(worker.address, worker);
    }
    if (!Array.isArray(value)) return;
    for (const message of value) {
      if (!(message instanceof WireMap)) continue;
      if (worker !== undefined) this.#toWorker(worker, message);
      else if (client !== undefined) this.#toClient(client, message);
    }
  }

  /** The server is about to read a message. */
  in(wire: object, value: WireValue): void {
    if (value instanceof WireMap) this.#request(wire, value);
    if (!Array.isArray(value)) return;
    const worker = this.#workers.get(wire);
    const client = this.#clients.get(wire);
    for (const message of value) {
      if (!(message instanceof WireMap)) continue;
      if (worker !== undefined) this.#fromWorker(worker, message);
      else if (client !== undefined) fromClient(client, message);
    }
  }

  #request(wire: object, request: WireMap): void {
    const op = request.get("op");
    if (op === "register-worker") {
      const address = String(request.get("address"));
      this.#workers.set(wire, { address, promised: new Map(), asked: new Map(), last_run_id: 0 });
    } else if (op === "register-client")
      this.#clients.set(wire, { name: String(request.get("client")), told: new Map() });
  }

  // ---- single messages

  #toWorker(stream: WorkerStream, message: WireMap): void {
    const op = message.get("op");
    const key = String(message.get("key"));
    if (op === "free-keys")
      for (const one of listOf(message.get("keys"))) stream.promised.delete(String(one));
    if (op === "steal-request")
      stream.asked.set(String(message.get("stimulus_id")), stream.promised.get(key));
    if (op !== "compute-task") return;
    this.compute_tasks++;
    const run_id = toNumber(message.get("run_id")) ?? 0;
    const fields = message.keys.map(String).sort().join(" ");
    if (!this.#traits.compute_fields.every((field) => message.has(field)))
      throw new InvariantError(`compute-task of ${key} has the fields ${fields}`);
    if (stream.promised.has(key)) throw new InvariantError(`M8: ${key} is sent again without free-keys`);
    if (this.#traits.has_run_id && run_id <= stream.last_run_id)
      throw new InvariantError(`M4: ${key} is sent as run ${run_id} after run ${stream.last_run_id}`);
    stream.last_run_id = run_id;
    stream.promised.set(key, run_id);
    checkInputs(key, message);
    if (message.get("actor") === true) this.#count("actor placed");
  }

  #fromWorker(stream: WorkerStream, message: WireMap): void {
    const op = message.get("op");
    const key = String(message.get("key"));
    if (op === "release-worker-data" || op === "missing-data") this.lost.add(key);
    if (op === "task-finished" || op === "task-erred") {
      const run_id = toNumber(message.get("run_id")) ?? 0;
      if (stream.promised.get(key) === run_id) stream.promised.delete(key);
    } else if (op === "steal-response" && GIVEN_UP.has(message.get("state"))) {
      // Of the run that was asked back: it may have been given to the same worker anew since.
      const run_id = stream.asked.get(String(message.get("stimulus_id")));
      if (stream.promised.get(key) === run_id) stream.promised.delete(key);
    }
  }

  #toClient(stream: ClientStream, message: WireMap): void {
    const op = String(message.get("op"));
    if (op === "cancelled-keys")
      for (const key of listOf(message.get("keys"))) stream.told.set(String(key), "cancelled");
    else if (op === "cancelled-key") stream.told.set(String(message.get("key")), "cancelled");
    else if (TOLD.has(op)) stream.told.set(String(message.get("key")), op);
  }

  // ---- after a turn

  /** Everything that was decided has been written: messages and books must agree. */
  check(): void {
    const { cluster, scheduler } = this.#server;
    let promised = 0;
    for (const [address, stream] of this.#by_address) {
      const peer = cluster.workers.get(address);
      if (peer === undefined) this.#by_address.delete(address);
      else {
        for (const [key, run_id] of stream.promised) this.#checkPromise(key, run_id, cluster.book(peer).id);
        promised += stream.promised.size;
      }
    }
    const processing = scheduler.books.state_counts[PROCESSING]!;
    if (processing !== promised)
      throw new InvariantError(
        `M7: ${processing} tasks are processed, ${promised} compute-tasks are out: ${this.#unpromised()}`,
      );
    this.#checkClients();
  }

  /** A task that is processed without a compute-task that says so. */
  #unpromised(): string {
    const { books } = this.#server.scheduler;
    for (let task = 0; task < books.tasks.top; task++) {
      if (books.tasks.state[task] !== PROCESSING) continue;
      const key = keyText(books.keys.bytes(task));
      const { address } = books.worker(books.tasks.processing_on[task]!);
      if (this.#by_address.get(address)?.promised.has(key) !== true) return `${key}, ${story(books, task)}`;
    }
    return "none of them lacks one";
  }

  #checkPromise(key: string, run_id: number, worker: number): void {
    const { books } = this.#server.scheduler;
    const bytes = keyBytes(key);
    const task = books.keys.findKey(bytes);
    if (task === NONE) throw new InvariantError(`M2: worker ${worker} computes ${key}, which is not known`);
    const right =
      books.tasks.state[task] === PROCESSING &&
      books.tasks.processing_on[task] === worker &&
      (run_id === 0 || books.tasks.run_id[task] === run_id);
    if (right) return;
    const rule = `M2: worker ${worker} was told to compute ${key} (run ${run_id}), and not to leave it`;
    throw new InvariantError(`${rule}: ${story(books, task)}`);
  }

  /** C3: what a client was told last of a key that it wants agrees with the key's state. */
  #checkClients(): void {
    const { books } = this.#server.scheduler;
    const { cluster } = this.#server;
    for (const { name, told } of this.#clients.values()) {
      if (!cluster.clients.has(name)) continue;
      const client = cluster.clientId(name);
      for (let r = books.wants.first_of_owner[client]!; r !== NONE; r = books.wants.next_of_owner[r]!) {
        const task = books.wants.task[r]!;
        const state = books.tasks.state[task]!;
        const key = keyText(books.keys.bytes(task));
        const last = told.get(key) ?? "nothing";
        const due = state === MEMORY ? "key-in-memory" : state === ERRED ? "task-erred" : null;
        if (due === null ? !FINAL.has(last) : last === due) continue;
        throw new InvariantError(`C3: ${name} was told ${last} of ${key}, which is ${STATE_NAMES[state]}`);
      }
    }
  }
}

/** M7: a holder and a size for each input. */
function checkInputs(key: string, message: WireMap): void {
  const who_has = message.get("who_has");
  const nbytes = message.get("nbytes");
  if (!(who_has instanceof WireMap) || !(nbytes instanceof WireMap) || who_has.size !== nbytes.size)
    throw new InvariantError(`M7: compute-task of ${key} without who_has and nbytes of the same keys`);
  for (const holders of who_has.values)
    if (listOf(holders).length === 0) throw new InvariantError(`M7: an input of ${key} has no holder`);
}

/** Whoever asks for a key anew, is told anew. */
function fromClient(stream: ClientStream, message: WireMap): void {
  const op = message.get("op");
  if (op === "update-graph-hlg" || op === "client-desires-keys")
    for (const key of listOf(message.get("keys"))) stream.told.delete(String(key));
}

function listOf(value: WireValue | undefined): readonly WireValue[] {
  return Array.isArray(value) ? value : [];
}
