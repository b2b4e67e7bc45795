import { FRAME_LIMITS, type FrameLimits } from "../protocol/frames.ts";
import { PHASE, type Phase } from "../trace/phases.ts";
import { Probe } from "../trace/tracer.ts";
import { inCallback } from "./callback.ts";
import {
  CarriedConnection,
  type CarriedConnectionOptions,
  type Carrier,
  type ConnectionEnds,
} from "./carried-connection.ts";
import type { Connection, Listener, Transport } from "./connection.ts";

export interface MemoryOptions {
  /** Is told of each turn of deliveries, as of a callback that read, and of each write on a listener's side. */
  readonly probe?: Probe;
  readonly frame_limits?: FrameLimits;
  readonly pending_bytes_max?: number;
}

/**
 * `inproc://name` addresses within one thread and one transport object. The same bytes as on TCP go over, in order
 * and by reference, so chunks must not be changed after write(). What is written in one turn of the event loop is
 * delivered in the next, by one setImmediate: no recursion builds up, and timers and sockets get their share.
 */
export class MemoryTransport implements Transport {
  readonly #listeners = new Map<string, (connection: Connection) => void>();
  readonly #turns: Turns;
  readonly #probe: Probe;
  readonly #limits: Omit<CarriedConnectionOptions, "probe">;
  #names = 0;

  constructor(options: MemoryOptions = {}) {
    this.#probe = options.probe ?? new Probe();
    this.#turns = new Turns(this.#probe);
    const frame_limits = options.frame_limits ?? FRAME_LIMITS;
    this.#limits = {
      inbox_limits: { frame_limits, first_frame_limits: frame_limits },
      pending_bytes_max: options.pending_bytes_max ?? Number.POSITIVE_INFINITY,
    };
  }

  /** An empty name, `inproc://`, takes a free one. */
  async listen(address: string, onConnection: (connection: Connection) => void): Promise<Listener> {
    const name = nameOf(address) || `listener-${++this.#names}`;
    if (this.#listeners.has(name)) throw new Error(`address in use: inproc://${name}`);
    this.#listeners.set(name, onConnection);
    return {
      address: `inproc://${name}`,
      close: async () => {
        this.#listeners.delete(name);
      },
    };
  }

  async connect(address: string): Promise<Connection> {
    const name = nameOf(address);
    const onConnection = this.#listeners.get(name);
    if (onConnection === undefined) throw new Error(`nobody listens at ${address}`);
    const here = `inproc://${name}`;
    const near = `inproc://peer-${++this.#names}`;
    const accepted = this.#end({ local: here, peer: near }, this.#probe, PHASE.read);
    // Whoever connects within the server's own thread is a fleet: its stream is its own work.
    const connected = this.#end({ local: near, peer: here }, new Probe(), PHASE.worker);
    accepted.other = connected;
    connected.other = accepted;
    this.#turns.add(() => onConnection(accepted.connection));
    return connected.connection;
  }

  /** `phase`: where the cutting of what arrives at this end into messages is booked. */
  #end(ends: ConnectionEnds, probe: Probe, phase: Phase): MemoryCarrier {
    return new MemoryCarrier(ends, { ...this.#limits, probe }, this.#turns, { probe: this.#probe, phase });
  }
}

/** One end of a pair. What it sent and the other has not read yet lies in its own outbox. */
class MemoryCarrier implements Carrier {
  readonly connection: CarriedConnection;
  other: MemoryCarrier | null = null;
  pending_bytes = 0;
  readonly #turns: Turns;
  readonly #reading: { readonly probe: Probe; readonly phase: Phase };
  #outbox: Uint8Array[] = [];
  /** A turn for the outbox is booked. */
  #booked = false;
  /** The other end is told of the end when the outbox is empty. */
  #finishing = false;
  #over = false;

  constructor(
    ends: ConnectionEnds,
    options: CarriedConnectionOptions,
    turns: Turns,
    reading: { readonly probe: Probe; readonly phase: Phase },
  ) {
    this.#turns = turns;
    this.#reading = reading;
    this.connection = new CarriedConnection(ends, options, this);
  }

  send(chunks: readonly Uint8Array[]): void {
    for (const chunk of chunks) {
      this.#outbox.push(chunk);
      this.pending_bytes += chunk.length;
    }
    this.#book();
  }

  read(): void {
    const { other } = this;
    if (other !== null && other.pending_bytes > 0) other.#book();
  }

  /** Nothing comes here while the owner does not read: it stays in the other end's outbox. */
  stopReading(): void {}

  finish(): void {
    this.#finishing = true;
    this.#book();
  }

  kill(): void {
    this.#endSoon();
    if (this.other !== null) this.other.#endSoon();
  }

  /** Books a turn in which the outbox is delivered, as far as the other end reads. */
  #book(): void {
    if (this.#booked) return;
    this.#booked = true;
    this.#turns.add(() => this.#flush());
  }

  #flush(): void {
    this.#booked = false;
    const { other } = this;
    if (this.#over || other === null) return;
    this.#deliver(other);
    if (this.pending_bytes > 0 || this.#over) return;
    this.connection.sent();
    if (this.#finishing) this.kill();
  }

  /** Hands chunks over while the other end reads, or is closed and drops them. */
  #deliver(other: MemoryCarrier): void {
    const chunks = this.#outbox;
    let next = 0;
    this.#outbox = [];
    const { probe, phase } = other.#reading;
    while (next < chunks.length && (other.connection.reading || other.connection.ending)) {
      const chunk = chunks[next++]!;
      this.pending_bytes -= chunk.length;
      const { tracer } = probe;
      tracer?.enter(phase);
      other.connection.take(chunk);
      tracer?.exit();
      if (this.#over) return;
    }
    // What was written meanwhile comes after what is left.
    if (next < chunks.length) this.#outbox = chunks.slice(next).concat(this.#outbox);
  }

  /** Either end is told in a turn of its own, never from within a call. */
  #endSoon(): void {
    if (this.#over) return;
    this.#over = true;
    this.#outbox = [];
    this.pending_bytes = 0;
    this.connection.ends("closed by the peer");
    this.#turns.add(() => this.connection.over());
  }
}

/** The transport's own queue: what is added in one turn runs in the next. */
class Turns {
  readonly #probe: Probe;
  #tasks: (() => void)[] = [];
  #booked = false;

  constructor(probe: Probe) {
    this.#probe = probe;
  }

  add(task: () => void): void {
    this.#tasks.push(task);
    this.#book();
  }

  #book(): void {
    if (this.#booked) return;
    this.#booked = true;
    setImmediate(() => this.#run());
  }

  #run(): void {
    this.#booked = false;
    const tasks = this.#tasks;
    this.#tasks = [];
    let next = 0;
    try {
      // The hand-over itself, on either side's behalf.
      inCallback(this.#probe, "read", PHASE.read, () => {
        while (next < tasks.length) tasks[next++]!();
      });
    } finally {
      // A task that threw costs nobody else his turn.
      if (next < tasks.length) {
        this.#tasks = tasks.slice(next).concat(this.#tasks);
        this.#book();
      }
    }
  }
}

function nameOf(address: string): string {
  if (!address.startsWith("inproc://")) throw new Error(`not an inproc address: ${JSON.stringify(address)}`);
  return address.slice("inproc://".length);
}
