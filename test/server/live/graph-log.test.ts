import { expect, test } from "vitest";
import { IntStack } from "../../../src/base/typed-arrays.ts";
import { GraphLog, graphTimes } from "../../../src/server/graphs/graph-log.ts";

function written(...tasks: number[]): IntStack {
  const stack = new IntStack();
  for (const task of tasks) stack.push(task);
  return stack;
}

test("the first task of each graph to be sent ends its wait, whatever else is sent", () => {
  const log = new GraphLog(10);
  const one = log.add(100, 1_000);
  const two = log.add(200, 2_000);
  log.known(one, Int32Array.of(3, 4));
  log.known(two, Int32Array.of(5, 6));
  log.written(written(9, ~3, 6), 5_000);
  log.written(written(5, 4), 7_000);
  log.written(written(3), 9_000);
  expect([one.first_task_ns, two.first_task_ns]).toEqual([7_000, 5_000]);
  two.known_ns = 3_000;
  expect(graphTimes(two)).toMatchObject({ bytes: 200, first_task_s: 3e-6, last_task_s: 1e-6 });
  two.complete_ns = 4_000;
  expect(log.times()[0]).toMatchObject({ bytes: 200, last_task_s: 2e-6 });
});

test("the largest graphs are kept, and one that is not takes its ids from those that are", () => {
  const log = new GraphLog(2);
  const kept = [log.add(50, 0), log.add(70, 0)];
  log.known(kept[0]!, Int32Array.of(1, 2));
  const small = log.add(10, 0);
  // The ids of the first graph have become free and are the small one's.
  log.known(small, Int32Array.of(1, 2));
  log.written(written(1, 2), 5);
  expect(kept[0]?.first_task_ns).toBe(0);
  log.add(60, 0);
  expect(log.times().map(({ bytes }) => bytes)).toEqual([70, 60]);
  log.known(kept[0]!, Int32Array.of(3));
  log.written(written(3), 6);
  expect(kept[0]?.first_task_ns).toBe(0);
});
