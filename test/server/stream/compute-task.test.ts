import { beforeEach, describe, expect, test } from "vitest";
import { PAYLOAD_INLINE, PAYLOAD_PICKLED, PAYLOAD_SERIALIZED } from "../../../src/core/payloads.ts";
import { keyValue } from "../../../src/protocol/keys.ts";
import { decodeMessage } from "../../../src/protocol/message.ts";
import { packValue } from "../../../src/protocol/msgpack.ts";
import {
  Pickled,
  RawValue,
  Serialized,
  WireFloat,
  WireMap,
  type WireValue,
} from "../../../src/protocol/values.ts";
import type { Release } from "../../../src/server/peers/release.ts";
import { GOLDENS, goldenBytes } from "../../protocol/golden.ts";
import { fieldNames, framed, Rig, SUB_HEADER, type TaskPlan, type TestConnection } from "./rig.ts";

const RELEASES: readonly Release[] = ["2022.12", "2024.12", "2026.8"];

/** The compute-task messages that Dask's schedulers of a release were recorded to send. */
function recorded(release: Release): WireMap[] {
  return GOLDENS.filter(
    ({ version, flow, ops }) =>
      version.startsWith(release) && flow === "sched->peer" && ops.includes("compute-task"),
  )
    .flatMap((golden) => decodeMessage(framed([goldenBytes(golden)])) as WireMap[])
    .filter((message) => message.get("op") === "compute-task");
}

/** The kind of a value, as Python would name it. */
function kindOf(value: WireValue | undefined): string {
  if (value === null || value === undefined) return "None";
  if (value instanceof WireFloat || (typeof value === "number" && !Number.isInteger(value))) return "float";
  if (value instanceof WireMap) return "dict";
  if (value instanceof Uint8Array) return "bytes";
  if (Array.isArray(value)) return `tuple of ${value.length}`;
  return typeof value === "object" ? value.constructor.name : typeof value;
}

/** Fields whose kind differs from task to task, with what else they may be. */
const ALSO: Readonly<Record<string, readonly string[]>> = {
  key: ["string", "tuple of 2"],
  run_spec: ["None", "Pickled", "Serialized"],
  function: ["None", "bytes"],
  args: ["None", "bytes"],
  kwargs: ["None", "bytes"],
  span_id: ["None"],
  resource_restrictions: ["None", "dict"],
};

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});

/** What a worker of a release is sent for one task. */
function sent(release: Release, plan: TaskPlan, priority = {}): { message: WireMap; stream: TestConnection } {
  const { stream } = rig.worker(release);
  const { id } = rig.client();
  rig.submit(id, [plan], [plan.key], priority);
  rig.turn();
  const writes = [...stream.writes];
  const messages = stream.messages();
  stream.writes.push(...writes);
  expect(messages).toHaveLength(1);
  return { message: messages[0]!, stream };
}

const CALL = packValue(
  WireMap.of({ function: Buffer.from("f"), args: Buffer.from("a"), kwargs: Buffer.from("k") }),
);

describe.each(RELEASES)("to a worker of %s", (release) => {
  test("a task has the fields of Dask's own message, in their order and of their kinds", () => {
    const goldens = recorded(release);
    expect(goldens.length).toBeGreaterThan(2);
    const inline = release === "2022.12";
    const { message } = sent(
      release,
      inline ? { key: "x", frames: [CALL], kind: PAYLOAD_INLINE } : { key: "x" },
    );
    for (const golden of goldens) {
      expect(fieldNames(message)).toEqual(fieldNames(golden));
      for (const name of fieldNames(golden)) {
        const kinds = [kindOf(golden.get(name)), ...(ALSO[name] ?? [])];
        expect(kinds, `${name} in ${release}`).toContain(kindOf(message.get(name)));
      }
    }
    expect(message.get("stimulus_id")).toMatch(/^compute-task-\d+$/);
  });

  test("priorities keep their sign and fraction", () => {
    const { message } = sent(
      release,
      { key: "x", order: 70_000 },
      { user_priority: -2_000_000, generation: 1.99 },
    );
    expect(message.get("priority")).toEqual([-2_000_000, 1.99, 70_000]);
  });

  test("dependencies come with their holders and sizes, whatever kind their keys are of", () => {
    const { book, stream } = rig.worker(release, 4);
    const other = rig.worker(release);
    const { id } = rig.client();
    const keys: WireValue[] = ["a", ["t", 0, 1], Buffer.from("b"), 7];
    rig.submit(id, [...keys.map((key) => ({ key })), { key: ["sum", 0], needs: keys }], [["sum", 0]]);
    rig.scheduler.workerStatusChanged(other.book, "paused");
    rig.turn();
    keys.forEach((key, i) => {
      rig.finish(book, key, [0, 300, 70_000, 2 ** 40][i]!);
    });
    rig.scheduler.keyAdded(other.book, rig.task("a"));
    stream.messages();
    rig.turn();
    const message = stream.messages().at(-1)!;
    expect(message.get("key")).toEqual(["sum", 0]);
    const who_has = message.get("who_has") as WireMap;
    const nbytes = message.get("nbytes") as WireMap;
    expect(who_has.keys).toEqual(keys);
    expect(nbytes.keys).toEqual(keys);
    expect(nbytes.values).toEqual([0, 300, 70_000, 2 ** 40]);
    expect(new Set(who_has.values[0] as string[])).toEqual(new Set([book.address, other.book.address]));
    expect(who_has.values[1]).toEqual([book.address]);
  });

  test("more than 15 dependencies take a longer header", () => {
    const { book, stream } = rig.worker(release, 40);
    const { id } = rig.client();
    const keys = Array.from({ length: 40 }, (_, i) => `a-key-of-some-length-${i}`);
    rig.submit(id, [...keys.map((key) => ({ key })), { key: "sum", needs: keys }], ["sum"]);
    rig.turn();
    for (const key of keys) rig.finish(book, key);
    stream.messages();
    rig.turn();
    expect((stream.messages().at(-1)!.get("who_has") as WireMap).keys).toEqual(keys);
  });

  test("actors, resources and annotations are told", () => {
    const annotations = WireMap.of({ retries: 2, ключ: ["a", 1.5] });
    const { message } = sent(release, {
      key: "x",
      annotations: {
        actor: true,
        message: annotations,
        restrictions: { workers: null, loose: false, resources: new Map([["GPU", 1]]) },
      },
    });
    expect(message.get("actor")).toBe(true);
    expect(message.get("resource_restrictions")).toEqual(WireMap.of({ GPU: new WireFloat(1) }));
    expect(message.get("annotations")).toEqual(annotations);
    expect(fieldNames(message)).toEqual(fieldNames(recorded(release)[0]!));
  });

  test.each([
    ["one pickled frame", PAYLOAD_PICKLED, ["header"]],
    ["two pickled frames", PAYLOAD_PICKLED, ["header", "body"]],
    ["many pickled frames", PAYLOAD_PICKLED, ["header", "b1", "", "b3", "b4"]],
    ["a serialized payload", PAYLOAD_SERIALIZED, ["header", "body"]],
  ])("%s goes out as it came", (_name, kind, texts) => {
    const header = packValue(WireMap.of({ "num-sub-frames": texts.length - 1, tag: texts[0]! }));
    const frames = [header, ...texts.slice(1).map((text) => Buffer.from(text))];
    const { message } = sent(release, { key: "x", kind, frames });
    const spec = message.get("run_spec");
    expect(spec).toBeInstanceOf(kind === PAYLOAD_PICKLED ? Pickled : Serialized);
    expect([(spec as Pickled).header, ...(spec as Pickled).frames].map(bytesOf)).toEqual(frames.map(bytesOf));
  });
});

function bytesOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

describe("an inline call of 2022.12", () => {
  test("has its parts beside an empty run_spec", () => {
    const { message } = sent("2022.12", { key: "x", frames: [CALL], kind: PAYLOAD_INLINE });
    expect(message.get("run_spec")).toBeNull();
    expect(["function", "args", "kwargs"].map((name) => String(message.get(name)))).toEqual(["f", "a", "k"]);
  });

  test("goes out as it is even if it holds what no codec takes, or is no call at all", () => {
    const bad_text = Buffer.of(0xa2, 0xff, 0xfe);
    const call = packValue(WireMap.of({ function: new RawValue(bad_text), args: Buffer.from("a") }));
    const { stream } = rig.worker("2022.12", 2);
    const { id } = rig.client();
    const plans = [
      { key: "x", frames: [call], kind: PAYLOAD_INLINE },
      { key: "y", frames: [packValue([1, 2])], kind: PAYLOAD_INLINE },
    ];
    rig.submit(id, plans, ["x", "y"]);
    rig.turn();
    const bytes = Buffer.concat(stream.writes.flat());
    expect(bytes.includes(bad_text)).toBe(true);
    expect(bytes.includes("kwargs\xc0\xb5resource_restrictions", 0, "latin1")).toBe(true);
  });

  test("is taken whole by a zero worker of a later release", () => {
    const { message } = sent("2026.8", { key: "x", frames: [CALL], kind: PAYLOAD_INLINE });
    expect(fieldNames(message.get("run_spec") as WireMap)).toEqual(["function", "args", "kwargs"]);
  });
});

describe("payloads", () => {
  test("large ones are passed on where they lie", () => {
    const { stream } = rig.worker("2026.8", 1);
    // A peer that does not read leaves the chunks as they were handed over.
    stream.stalled = true;
    const { id } = rig.client();
    rig.submit(id, [{ key: "x", frames: [SUB_HEADER, Buffer.alloc(100_000, 7)] }], ["x"]);
    rig.turn();
    const chunks = stream.writes[0]!;
    const large = chunks.filter((chunk) => chunk.length === 100_000);
    expect(large).toHaveLength(1);
    expect(large[0]!.buffer).toBe(rig.buffers[0]!.buffer);
    expect(chunks.length).toBe(2);
  });

  test("small ones are gathered into one chunk, between large ones too", () => {
    const { stream } = rig.worker("2026.8", 5);
    const { id } = rig.client();
    const sizes = [10, 50_000, 20, 30, 60_000];
    const keys = sizes.map((_, i) => `k${i}`);
    rig.submit(
      id,
      sizes.map((size, i) => ({ key: keys[i]!, frames: [SUB_HEADER, Buffer.alloc(size, i + 1)] })),
      keys,
    );
    rig.turn();
    expect(stream.writes[0]!.map((chunk) => chunk.length).filter((length) => length >= 50_000)).toEqual([
      50_000, 60_000,
    ]);
    expect(stream.writes[0]).toHaveLength(4);
    const messages = stream.messages();
    expect(messages.map((message) => message.get("key"))).toEqual(keys);
    messages.forEach((message, i) => {
      const [body] = (message.get("run_spec") as Pickled).frames;
      expect(body!.length).toBe(sizes[i]);
      expect(body!.every((byte) => byte === i + 1)).toBe(true);
    });
  });

  test("keys are written as they came", () => {
    const key = ["x", ["y", Buffer.from([0xff])], new WireFloat(2), -1];
    const { message } = sent("2026.8", { key });
    expect(packValue(message.get("key")!)).toEqual(packValue(keyValue(packValue(key))));
  });
});
