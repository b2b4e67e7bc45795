import fc from "fast-check";
import { expect, test } from "vitest";
import { EventHeap } from "../../../simulator/clock/event-heap.ts";

test("events come by their time, then by rank, then in the order of adding", () => {
  const events = fc.array(fc.tuple(fc.nat(20), fc.nat(3)), { maxLength: 300 });
  fc.assert(
    fc.property(events, (list) => {
      const heap = new EventHeap<number>();
      for (const [i, [time_ns, rank]] of list.entries()) heap.add(time_ns, i, rank);
      const taken: number[] = [];
      while (heap.size > 0) {
        const next_ns = heap.next_ns;
        const event = heap.take();
        expect(list[event]![0]).toBe(next_ns);
        taken.push(event);
      }
      const sorted = list
        .map((_, i) => i)
        .sort((a, b) => list[a]![0] - list[b]![0] || list[a]![1] - list[b]![1] || a - b);
      expect(taken).toEqual(sorted);
      expect(heap.next_ns).toBe(Number.POSITIVE_INFINITY);
    }),
  );
});

test("what is taken and added in turn keeps its order", () => {
  const heap = new EventHeap<string>();
  heap.add(5, "late");
  heap.add(1, "first");
  expect(heap.take()).toBe("first");
  heap.add(5, "later");
  heap.add(2, "second");
  expect([heap.take(), heap.take(), heap.take()]).toEqual(["second", "late", "later"]);
});
