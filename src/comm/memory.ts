import { FRAME_LIMITS, type FrameLimits } from "../protocol/frames.ts";
import { PHASE, type Phase } from "../trace/phases.ts";
import { Probe } from "../trace/tracer.ts";
import type { Connection, Listener, Transport } from "./connection.ts";
import { Ending } from "./ending.ts";
import { Inbox } from "./inbox.ts";

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
  readonly #frame_limits: FrameLimits;
  readonly #pending_bytes_max: number;
  #names = 0;

  constructor(options: MemoryOptions = {}) {
    this.#probe = options.probe ?? new Probe();
    this.#turns = new Turns(this.#probe);
    this.#frame_limits = options.frame_limits ?? FRAME_LIMITS;
    this.#pending_bytes_max = options.pending_bytes_max ?? Number.POSITIVE_INFINITY;
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
    const near = `inproc://peer-${++this.#names}`;
    const common = {
      turns: this.#turns,
      frame_limits: this.#frame_limits,
      pending_bytes_max: this.#pending_bytes_max,
    };
    const accepted = new MemoryConnection({
      ...common,
      local: `inproc://${name}`,
      peer: near,
      probe: this.#probe,
      reading: { probe: this.#probe, phase: PHASE.read },
    });
    const connected = new MemoryConnection({
      ...common,
      local: near,
      peer: `inproc://${name}`,
      probe: new Probe(),
      // Whoever connects within the server's own thread is a fleet: its stream is its own work.
      reading: { probe: this.#probe, phase: PHASE.worker },
    });
    accepted.pair(connected);
    connected.pair(accepted);
    this.#turns.add(() => onConnection(accepted));
    return connected;
  }
}

interface MemoryConnectionOptions {
  readonly local: string;
  readonly peer: string;
  readonly turns: Turns;
  readonly probe: Probe;
  /** Where the cutting of what arrives here into messages is booked. */
  readonly reading: { readonly probe: Probe; readonly phase: Phase };
  readonly frame_limits: FrameLimits;
  readonly pending_bytes_max: number;
}

/** One end of a pair. What it wrote and the other has not read yet lies in its own outbox. */
class MemoryConnection implements Connection {
  readonly local: string;
  readonly peer: string;
  onDrain: () => void = ignore;
  readonly #turns: Turns;
  readonly #probe: Probe;
  readonly #read_in: MemoryConnectionOptions["reading"];
  readonly #pending_bytes_max: number;
  readonly #inbox: Inbox;
  readonly #ending = new Ending();
  #other: MemoryConnection | null = null;
  #outbox: Uint8Array[] = [];
  #outbox_bytes = 0;
  /** A turn for the outbox is booked. */
  #booked = false;
  #reading = false;
  /** Closed for writing: the other end is told when the outbox is empty. */
  #closing = false;
  #reason: string | null = null;

  constructor(options: MemoryConnectionOptions) {
    this.local = options.local;
    this.peer = options.peer;
    this.#turns = options.turns;
    this.#probe = options.probe;
    this.#read_in = options.reading;
    this.#pending_bytes_max = options.pending_bytes_max;
    const { frame_limits } = options;
    this.#inbox = new Inbox(
      { frame_limits, first_frame_limits: frame_limits },
      {
        setReading: (reading) => {
          this.#reading = reading;
          if (reading) this.#wakeOther();
        },
        onBadInput: (reason) => this.destroy(reason),
      },
      options.probe,
    );
  }

  pair(other: MemoryConnection): void {
    this.#other = other;
  }

  get pending_bytes(): number {
    return this.#outbox_bytes;
  }

  get onMessage(): Connection["onMessage"] {
    return this.#inbox.handler;
  }

  set onMessage(handler: Connection["onMessage"]) {
    this.#inbox.handler = handler;
  }

  get onClose(): (reason: string) => void {
    return this.#ending.handler;
  }

  set onClose(handler: (reason: string) => void) {
    this.#ending.handler = handler;
  }

  write(chunks: readonly Uint8Array[]): void {
    if (this.#reason !== null || this.#closing) return;
    const { tracer } = this.#probe;
    tracer?.enter(PHASE.write);
    for (const chunk of chunks) {
      this.#outbox.push(chunk);
      this.#outbox_bytes += chunk.length;
    }
    tracer?.exit();
    if (this.#outbox_bytes > this.#pending_bytes_max) {
      this.destroy(`does not read: ${this.#outbox_bytes} bytes are waiting for it`);
    } else this.#book();
  }

  pause(): void {
    this.#inbox.pause();
  }

  resume(): void {
    this.#inbox.resume();
  }

  close(): void {
    if (this.#reason !== null || this.#closing) return;
    this.#closing = true;
    this.#inbox.close();
    this.#book();
  }

  destroy(reason: string): void {
    this.#endSoon(reason);
    const other = this.#other;
    if (other !== null) other.#endSoon("closed by the peer");
  }

  #wakeOther(): void {
    const other = this.#other;
    if (other !== null && other.#outbox_bytes > 0) other.#book();
  }

  /** Books a turn in which the outbox is delivered, as far as the other end reads. */
  #book(): void {
    if (this.#booked) return;
    this.#booked = true;
    this.#turns.add(() => this.#flush());
  }

  #flush(): void {
    this.#booked = false;
    const other = this.#other;
    if (this.#reason !== null || other === null) return;
    if (this.#outbox_bytes > 0) {
      const drained = other.#closing ? this.#discard() : this.#deliver(other);
      if (!drained) return;
      if (this.#reason === null && !this.#closing) this.onDrain();
    }
    if (this.#closing && this.#outbox_bytes === 0) {
      other.#endSoon("closed by the peer");
      this.#endSoon("closed here");
    }
  }

  #discard(): boolean {
    this.#outbox = [];
    this.#outbox_bytes = 0;
    return true;
  }

  /** Hands chunks over while the other end reads; true if none is left. */
  #deliver(other: MemoryConnection): boolean {
    const chunks = this.#outbox;
    let next = 0;
    this.#outbox = [];
    while (next < chunks.length && other.#reading && other.#reason === null) {
      const chunk = chunks[next++]!;
      this.#outbox_bytes -= chunk.length;
      const { probe, phase } = other.#read_in;
      const { tracer } = probe;
      tracer?.enter(phase);
      other.#inbox.push(chunk, false);
      tracer?.exit();
    }
    if (this.#reason !== null) return false;
    if (next === chunks.length) return this.#outbox.length === 0;
    // What was written meanwhile comes after what is left.
    this.#outbox = chunks.slice(next).concat(this.#outbox);
    return false;
  }

  /** Both ends are told in a turn of their own, never from within a call. */
  #endSoon(reason: string): void {
    if (this.#reason !== null) return;
    this.#reason = reason;
    this.#inbox.close();
    this.#outbox = [];
    this.#outbox_bytes = 0;
    this.#turns.add(() => this.#ending.end(reason));
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
    const { tracer } = this.#probe;
    // The hand-over itself, on either side's behalf.
    tracer?.begin("read", PHASE.read);
    try {
      while (next < tasks.length) tasks[next++]!();
    } finally {
      tracer?.end();
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

function ignore(): void {}
