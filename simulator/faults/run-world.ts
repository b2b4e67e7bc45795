import { InvariantError } from "../../src/base/assert.ts";
import { NONE } from "../../src/base/ids.ts";
import { NO_WORKER, PROCESSING, QUEUED, WAITING } from "../../src/core/states.ts";
import type { StimulusLog } from "../../src/core/stimuli.ts";
import { story } from "../../src/core/validate.ts";
import { keyText } from "../../src/protocol/keys.ts";
import { WireMap } from "../../src/protocol/values.ts";
import { stateOf } from "../checkers/outcome-model.ts";
import { FaultWorld, type Witness } from "./fault-world.ts";
import { checkGathered, MOVES, STRANGE_MOVES } from "./moves.ts";
import { ALIASES, type WorldPlan } from "./plan.ts";
import { strangeMessage } from "./strangers.ts";

/** After the last step, what is late still gets so long. */
const AFTERMATH_NS = 0.2e9;
/** Once all faults are over, everything must be at rest within this (L1). */
const REST_NS_MAX = 600e9;
const LOOK_NS = 1e9;
/** How long worlds with strangers go on after each of their last stages. */
const STRANGERS_NS = 5e9;
/** Sent at the beginning and at the end of such worlds. */
const STRANGE_MESSAGES = 6;
/** The world must be found at rest so often in a row. */
const LOOKS = 3;

/** What became of one world. */
export interface Verdict {
  readonly seed: number;
  /** Null: everything held. */
  readonly failure: string | null;
  /** Of all that went over wires. */
  readonly digest: string;
  readonly stimuli: number;
  /** Virtual time, s. */
  readonly seconds: number;
  readonly counts: ReadonlyMap<string, number>;
  /** What strangers have sent: kind, operation, and before, during or after its natural place. */
  readonly ops: ReadonlyMap<string, number>;
  /** How often each edge was taken: `from * 8 + to`. */
  readonly edges: Int32Array;
}

/**
 * Runs a world from its first moment to its last, with only the steps whose positions `kept` has (null: all). `log` is told
 * what its core is told.
 */
export async function runWorld(
  plan: WorldPlan,
  kept: ReadonlySet<number> | null = null,
  witness: Witness | null = null,
  log: StimulusLog | null = null,
): Promise<Verdict> {
  const world = new FaultWorld(plan, witness, log);
  const edges = new Int32Array(64);
  world.server.scheduler.books.follow((_, from, to) => {
    edges[from * 8 + to]!++;
  });
  let failure: string | null = null;
  try {
    await world.start();
    if (plan.strangers) for (let i = 0; i < STRANGE_MESSAGES; i++) strangeMessage(world, "before", world.ops);
    world.settle();
    bookSteps(world, kept);
    await world.runUntil((plan.steps.at(-1)?.at_ns ?? 0) + AFTERMATH_NS);
    heal(world);
    if (plan.strangers) await endAmongStrangers(world);
    else {
      await rest(world);
      await checkEnd(world);
      await leave(world);
    }
  } catch (error) {
    // Whatever is thrown is what was looked for.
    failure =
      error instanceof InvariantError
        ? error.message
        : error instanceof Error
          ? (error.stack ?? error.message)
          : String(error);
  }
  const { counts, ops, stimuli } = world;
  return {
    seed: plan.seed,
    failure,
    digest: world.digest(),
    stimuli,
    seconds: world.machine.now_ns / 1e9,
    counts,
    ops,
    edges,
  };
}

function bookSteps(world: FaultWorld, kept: ReadonlySet<number> | null): void {
  const moves = world.plan.strangers ? [...MOVES, ...STRANGE_MOVES] : MOVES;
  world.plan.steps.forEach((step, i) => {
    if (kept !== null && !kept.has(i)) return;
    const [name, move] = moves[step.move % moves.length]!;
    world.machine.at(step.at_ns, () => {
      world.note(`step ${i}: ${name} (${step.a}, ${step.b})`);
      if (move(world, step.a, step.b)) world.count(name);
    });
  });
}

/** All faults are over: who hung goes on, who was paused runs, and for every task there is a worker that may take it. */
function heal(world: FaultWorld): void {
  world.note("faults are over");
  world.network.calm = true;
  for (const host of world.living()) {
    host.hang(false);
    host.worker.slowness = 1;
    host.stalled_until_ns = 0;
    host.delayReplies(0);
  }
  world.healing = true;
  keepStaffed(world);
}

/**
 * As a deployment does: a name without a worker gets one, again and again, as tasks may kill theirs. And as workers do:
 * those that were paused and have memory go on.
 */
function keepStaffed(world: FaultWorld): void {
  if (!world.healing) return;
  for (const host of world.living())
    if (host.registered && host.worker.status === "paused") host.worker.setStatus("running", "enough-memory");
  for (const [i, name] of [...ALIASES, "gpu"].entries()) {
    if (world.living().some(({ facts }) => facts.name === name)) continue;
    world.joinAs({ address: `tcp://10.0.3.${i}:9000`, name, threads: 2, resources: { GPU: 1 } });
  }
  world.machine.at(world.machine.now_ns + LOOK_NS, () => keepStaffed(world));
}

/** Lets the world run until nothing is left to do. Throws where it does not come to rest in time. */
async function rest(world: FaultWorld): Promise<void> {
  const limit_ns = world.machine.now_ns + REST_NS_MAX;
  for (let looks = 0; looks < LOOKS; ) {
    await world.runUntil(world.machine.now_ns + LOOK_NS);
    looks = restless(world) === null ? looks + 1 : 0;
    if (world.machine.now_ns > limit_ns) throw new InvariantError(`L1: no rest: ${restless(world)}`);
  }
}

/** What is still going on; null: nothing. */
function restless(world: FaultWorld): string | null {
  const { books } = world.server.scheduler;
  for (const state of [WAITING, PROCESSING, QUEUED, NO_WORKER])
    if (books.state_counts[state]! > 0)
      for (let task = 0; task < books.tasks.top; task++)
        if (books.tasks.state[task] === state)
          return `${keyText(books.keys.bytes(task))}: ${story(books, task)}`;
  for (const host of world.living()) {
    const { runs, fetches } = host.worker;
    const busy = host.worker.runsIn("waiting", "ready", "executing", "long-running", "cancelled");
    if (busy.length > 0)
      return `${host.facts.name} has ${busy.map((run) => `${run.key} ${run.phase}`).join(", ")} of ${runs.size}`;
    if (fetches.size > 0) return `${host.facts.name} fetches ${fetches.size} keys`;
    if (!host.registered) return `${host.facts.name} is not registered`;
    if (world.server.cluster.workers.get(host.facts.address)?.status !== "running")
      return `${host.facts.name} is on its way out`;
  }
  if (books.steals.size > 0) return `${books.steals.size} steals are not answered (M9)`;
  return null;
}

/** Everything is at rest, and as it must be: outcomes, wants, holdings, and the values themselves. */
async function checkEnd(world: FaultWorld): Promise<void> {
  const { books } = world.server.scheduler;
  world.model.checkWanted(books);
  checkWants(world);
  checkHoldings(world);
  const wanted = new Set(world.clients.filter(({ gone }) => !gone).flatMap((client) => client.wanted()));
  const keys = [...wanted].filter((key) => stateOf(key, books) === "memory");
  let gathered = -1;
  world.request("last gather", WireMap.of({ op: "gather", keys }), (reply) => {
    gathered = checkGathered(world, reply);
  });
  for (let looks = 0; gathered < 0 && looks < 60; looks++)
    await world.runUntil(world.machine.now_ns + LOOK_NS);
  if (gathered !== keys.length)
    throw new InvariantError(`${gathered} of ${keys.length} results could be gathered`);
}

/** C1: the scheduler knows what each client said last that it wants. */
function checkWants(world: FaultWorld): void {
  const { cluster, scheduler } = world.server;
  const { wants, keys } = scheduler.books;
  for (const client of world.clients) {
    if (client.gone || !cluster.clients.has(client.name)) continue;
    const id = cluster.clientId(client.name);
    const booked = new Set<string>();
    for (let r = wants.first_of_owner[id]!; r !== NONE; r = wants.next_of_owner[r]!)
      booked.add(keyText(keys.bytes(wants.task[r]!)));
    for (const [key, news] of client.news) {
      // A scatter is asked for on another connection: which of the two came first, nobody can say.
      if (!world.tasks.has(key)) continue;
      if (news.wants && !booked.has(key))
        throw new InvariantError(
          `C1: ${client.name} wants ${key}, which the scheduler does not know; it heard ${news.heard}`,
        );
      // Said before it heard that the key was cancelled: either may have been first.
      const crossed = news.cancelled_ns >= news.said_ns;
      if (!news.wants && !crossed && booked.has(key))
        throw new InvariantError(
          `C1: ${client.name} does not want ${key} any more, and the scheduler keeps it`,
        );
    }
  }
}

/** W1: what workers hold is what the books say. */
function checkHoldings(world: FaultWorld): void {
  const { cluster } = world.server;
  for (const host of world.living()) {
    const peer = cluster.workers.get(host.facts.address);
    if (peer === undefined) throw new InvariantError(`W9: ${host.facts.name} is not known`);
    // Copies that 2022's workers are asked to take come with a request, which a word on their stream may overtake, and they do
    // not report them there: one more than is known of cannot be helped.
    const lacking = cluster.hasWhat(peer).some((key) => !host.worker.data.has(keyText(key)));
    if (world.plan.release === "2022.12" && !lacking) continue;
    const booked = cluster.hasWhat(peer).map(keyText).sort().join(" ");
    const held = [...host.worker.data.keys()].sort().join(" ");
    if (booked !== held)
      throw new InvariantError(`W1: ${host.facts.name} holds [${held}], in the books [${booked}]`);
  }
}

/**
 * Where messages of all kinds were sent at any time, nobody can say what must come of tasks: the books must be right to the
 * last, and nothing may throw.
 */
async function endAmongStrangers(world: FaultWorld): Promise<void> {
  await world.runUntil(world.machine.now_ns + STRANGERS_NS);
  for (let i = 0; i < STRANGE_MESSAGES; i++) strangeMessage(world, "after", world.ops);
  await world.runUntil(world.machine.now_ns + STRANGERS_NS);
  for (const client of world.clients) if (!client.gone) client.close();
  world.healing = false;
  await world.runUntil(world.machine.now_ns + STRANGERS_NS);
  for (let i = 0; i < STRANGE_MESSAGES; i++) strangeMessage(world, "after", world.ops);
  await world.runUntil(world.machine.now_ns + STRANGERS_NS);
}

/** All clients leave: nothing may stay, neither here nor on the workers (C4, C5). */
async function leave(world: FaultWorld): Promise<void> {
  world.note("clients leave");
  for (const client of world.clients) if (!client.gone) client.close();
  await rest(world);
  world.healing = false;
  const { books, moves } = world.server.scheduler;
  const left = {
    tasks: books.tasks.live,
    keys: books.keys.size,
    edges: books.edges.live,
    replicas: books.replicas.live,
    wants: books.wants.live,
    needs: books.needs.live,
    errors: books.errors.size,
    restrictions: books.restrictions.size,
    annotations: books.annotations.size,
    lost_runs: books.lost_runs.size,
    queue: moves.queue.length,
    bytes: books.tasks.segments.live_bytes,
  };
  for (const [what, count] of Object.entries(left))
    if (count !== 0) throw new InvariantError(`C4: ${count} ${what} are left`);
  checkHoldings(world);
}
