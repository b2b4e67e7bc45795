import { beforeEach, describe, expect, test } from "vitest";
import { VirtualMachine } from "../../simulator/clock/virtual-machine.ts";
import { Prng } from "../../src/base/prng.ts";
import { TurnLoop } from "../../src/server/loop.ts";
import { Probe } from "../../src/trace/tracer.ts";
import { Rig } from "./stream/rig.ts";

let rig: Rig;
let machine: VirtualMachine;
let loop: TurnLoop;
let worker: ReturnType<Rig["worker"]>;

function startLoop(tasks_max?: number): void {
  loop = new TurnLoop({
    scheduler: rig.scheduler,
    outbox: rig.outbox,
    clock: machine,
    machine,
    probe: new Probe(),
    onBug: (error) => {
      throw error;
    },
    tasks_max,
  });
}

beforeEach(() => {
  rig = new Rig();
  machine = new VirtualMachine(new Prng(1), 0);
  startLoop();
  worker = rig.worker();
});

/** All turns up to a moment, ms; how many packets the worker has been sent since the beginning. */
async function packetsAt(ms: number): Promise<number> {
  while (await machine.step(ms * 1e6));
  return worker.stream.writes.length;
}

/** What the messages so far were about. */
const ops = (): unknown[] => worker.stream.messages().map((message) => message.get("op"));

describe("what a worker may drop", () => {
  /** A result that nobody wants any more, after a first packet. */
  async function released(client: number): Promise<void> {
    rig.submit(client, [{ key: "x" }, { key: "y" }], ["x", "y"]);
    loop.touch();
    expect(await packetsAt(1)).toBe(1);
    rig.finish(worker.book, "x");
    rig.release(client, "x");
    loop.touch();
  }

  test("waits some milliseconds, and is told then", async () => {
    await released(rig.client().id);
    expect(await packetsAt(5)).toBe(1);
    expect(await packetsAt(7)).toBe(2);
    expect(await packetsAt(1000)).toBe(2);
    expect(ops()).toEqual(["compute-task", "compute-task", "free-keys"]);
  });

  test("goes with the next packet, before what was said later", async () => {
    const { id } = rig.client();
    await released(id);
    rig.submit(id, [{ key: "z" }], ["z"]);
    loop.touch();
    expect(await packetsAt(2)).toBe(2);
    expect(await packetsAt(1000)).toBe(2);
    expect(ops()).toEqual(["compute-task", "compute-task", "free-keys", "compute-task"]);
  });

  test("does not wait if it is much", async () => {
    const { id } = rig.client();
    const keys = Array.from({ length: 300 }, (_, i) => `k${i}`);
    rig.submit(
      id,
      keys.map((key) => ({ key })),
      keys,
    );
    loop.touch();
    const before = await packetsAt(1);
    for (const key of keys) {
      rig.finish(worker.book, key);
      rig.release(id, key);
    }
    loop.touch();
    expect(await packetsAt(2)).toBe(before + 1);
  });

  test("does not wait if the worker is at it: a task that nobody wants any more is stopped at once", async () => {
    const { id } = rig.client();
    rig.submit(id, [{ key: "x" }], ["x"]);
    loop.touch();
    await packetsAt(1);
    rig.release(id, "x");
    loop.touch();
    expect(await packetsAt(2)).toBe(2);
    expect(ops()).toEqual(["compute-task", "free-keys"]);
  });
});

test("tasks that are too many for one turn are placed in several, and go out in one packet", async () => {
  startLoop(4);
  const keys = Array.from({ length: 10 }, (_, i) => `k${i}`);
  rig.submit(
    rig.client().id,
    keys.map((key) => ({ key })),
    keys,
  );
  const before = loop.turns;
  loop.touch();
  expect(await packetsAt(1)).toBe(1);
  expect([loop.turns - before, ops().length]).toEqual([3, 10]);
});
