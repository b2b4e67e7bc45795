import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NONE } from "../../../src/base/ids.ts";
import type { WorkerBook } from "../../../src/core/worker-book.ts";
import { ProtocolError } from "../../../src/protocol/errors.ts";
import { FRAME_LIMITS, type FramedMessage, FrameReader, frameMessage } from "../../../src/protocol/frames.ts";
import { keyBytes, keyValue } from "../../../src/protocol/keys.ts";
import { decodeMessage } from "../../../src/protocol/message.ts";
import { packValue, skipValue, unpackValue } from "../../../src/protocol/msgpack.ts";
import { RawValue, toNumber, WireFloat, WireMap, type WireValue } from "../../../src/protocol/values.ts";
import { TypeTable } from "../../../src/server/stream/type-table.ts";
import { firstItem } from "../../../src/server/stream/walk.ts";
import { ADDED, DROPPED, FINISHED, OTHER, WorkerReader } from "../../../src/server/stream/worker-reader.ts";
import { taskKey, wireValue } from "../../protocol/arbitraries.ts";
import { GOLDENS, goldenBytes } from "../../protocol/golden.ts";
import { packLoosely } from "./loose-packer.ts";
import { framed, Rig } from "./rig.ts";

const KNOWN: readonly WireValue[] = [
  "inc-1",
  ["x", 0, 1],
  Buffer.from("bytes"),
  17,
  new WireFloat(1),
  -5,
  "a-key-that-is-longer-than-thirty-one-characters",
  ["nested", ["y", 2.5]],
];

/** A row as a test compares it. */
interface Row {
  readonly what: number;
  /** Key of the task in hex, or the index of another message. */
  readonly of: string | number;
  /** Of another message: all of it. */
  readonly bytes?: string;
  readonly run_id?: number;
  readonly nbytes?: number;
  readonly type?: string;
  readonly name?: string;
  readonly times?: readonly number[];
}

/** A scheduler whose only worker processes {@link KNOWN}. */
function busyRig(): { rig: Rig; busy: WorkerBook; read: (message: FramedMessage) => Row[] } {
  const rig = new Rig();
  const { book } = rig.worker("2026.8", KNOWN.length);
  const client = rig.client();
  rig.submit(
    client.id,
    KNOWN.map((key) => ({ key })),
    KNOWN,
  );
  rig.turn();
  return {
    rig,
    busy: book,
    read: (message) => {
      const types = new TypeTable();
      const reader = new WorkerReader(rig.scheduler.books, types);
      reader.read(message, book);
      return rowsOf(rig, reader, types, message);
    },
  };
}

function rowsOf(rig: Rig, reader: WorkerReader, types: TypeTable, message: FramedMessage): Row[] {
  const rows: Row[] = [];
  let others = 0;
  for (let i = 0; i < reader.count; i++) {
    const what = reader.what[i]!;
    const task = reader.task[i]!;
    if (what === OTHER) {
      const [start, end] = [reader.bounds.items[others++]!, reader.bounds.items[others++]!];
      // What else is in it need not be sound: whoever takes it decodes it.
      rows.push({ what, of: task, bytes: message.bytes.toString("hex", start, end) });
      continue;
    }
    const known = task !== NONE;
    if (what === DROPPED && !known) continue; // nothing is to be done for it
    const of = Buffer.from(known ? rig.scheduler.books.keys.bytes(task) : reader.unknownKey(i)).toString(
      "hex",
    );
    if (what !== FINISHED) rows.push({ what, of });
    else
      rows.push({
        what,
        of,
        nbytes: reader.nbytes[i]!,
        run_id: reader.run_id[i]!,
        type: typeText(unpackValue(types.bytes(reader.type[i]!))),
        name: types.name(reader.type[i]!),
        times: [reader.start_s[i]!, reader.stop_s[i]!],
      });
  }
  return rows;
}

function typeText(type: WireValue | undefined): string {
  return type instanceof Uint8Array ? Buffer.from(type).toString("hex") : "none";
}

/** What the rows should be, by way of the generic codec. */
function expectedRows(message: FramedMessage, isKnown: (key: Uint8Array) => boolean): Row[] {
  const packet = decodeMessage(message);
  if (!Array.isArray(packet)) throw new ProtocolError("X", "not a list");
  const names = new Map<string, string>();
  const bytes = itemBytes(message, packet.length);
  return packet.flatMap((fields, index): Row[] => {
    if (!(fields instanceof WireMap)) throw new ProtocolError("X", "not a map");
    const hex = (key: WireValue | undefined): string => Buffer.from(keyBytes(key ?? null)).toString("hex");
    switch (fields.get("op")) {
      case "task-finished":
        return [{ what: FINISHED, of: hex(fields.get("key")), ...finished(fields, names) }];
      case "add-keys": {
        const keys = fields.get("keys");
        if (!Array.isArray(keys)) throw new ProtocolError("X", "no keys");
        return keys.map((key) => ({ what: ADDED, of: hex(key) }));
      }
      case "release-worker-data": {
        const of = hex(fields.get("key"));
        return isKnown(Buffer.from(of, "hex")) ? [{ what: DROPPED, of }] : [];
      }
      default:
        return [{ what: OTHER, of: index, bytes: bytes[index]! }];
    }
  });
}

/** Each message's bytes in hex. */
function itemBytes(message: FramedMessage, count: number): string[] {
  let at = firstItem(message.bytes, message.frameStart(0));
  return Array.from({ length: count }, () => {
    const start = at;
    at = skipValue(message.bytes, at, message.frameEnd(0));
    return message.bytes.toString("hex", start, at);
  });
}

function finished(fields: WireMap, names: Map<string, string>): Omit<Row, "what" | "of"> {
  const nbytes = toNumber(fields.get("nbytes"));
  const run_id = fields.has("run_id") ? toNumber(fields.get("run_id")) : 0;
  if (nbytes === undefined || !(nbytes >= 0) || run_id === undefined) throw new ProtocolError("X", "lacking");
  const type = typeText(fields.get("type"));
  const typename = fields.get("typename");
  // A type keeps the name that it came with first.
  if (type !== "none" && !names.has(type)) names.set(type, typeof typename === "string" ? typename : "");
  return {
    nbytes: Math.min(Math.floor(nbytes), Number.MAX_SAFE_INTEGER),
    run_id,
    type,
    name: names.get(type) ?? "",
    times: computeTimes(fields.get("startstops")),
  };
}

function computeTimes(startstops: WireValue | undefined): number[] {
  let times = [0, 0];
  if (!Array.isArray(startstops)) return times;
  for (const action of startstops) {
    if (!(action instanceof WireMap) || action.get("action") !== "compute") continue;
    times = [floatOf(action.get("start")), floatOf(action.get("stop"))];
  }
  return times;
}

function floatOf(value: WireValue | undefined): number {
  if (value instanceof WireFloat) return value.value;
  return typeof value === "number" && !Number.isInteger(value) ? value : 0;
}

// ---- random packets

const key = fc.oneof({ arbitrary: fc.constantFrom(...KNOWN), weight: 3 }, taskKey);
const time = fc.oneof(fc.double(), fc.nat(9)).map((n) => new RawValue(floatBytes(n)));
const startstop = fc
  .record({
    action: fc.constantFrom("compute", "transfer", "disk"),
    start: time,
    stop: time,
    source: wireValue,
  })
  .map((fields) => WireMap.of(fields));

function floatBytes(value: number): Uint8Array {
  return packValue(Number.isInteger(value) ? new WireFloat(value) : value);
}

/** Values that a field mostly has, and now and then any other. */
function sane(arbitrary: fc.Arbitrary<WireValue>): fc.Arbitrary<WireValue> {
  return fc.oneof({ arbitrary, weight: 12 }, wireValue);
}

const size = fc.oneof(fc.nat(), fc.maxSafeInteger().map(Math.abs), fc.double({ min: 0, max: 1e9 }));
const fields_of: Readonly<Record<string, fc.Arbitrary<WireValue>>> = {
  op: fc.constantFrom("task-finished", "add-keys", "release-worker-data", "task-erred", "log-event", ""),
  key: sane(key),
  keys: sane(fc.array(key, { maxLength: 20 })),
  run_id: sane(fc.oneof(fc.nat(), fc.integer())),
  nbytes: sane(size.map((n) => (Number.isInteger(n) ? n : n))),
  type: sane(fc.constantFrom(Buffer.from("t1"), Buffer.from("t2"), Buffer.alloc(300, 7), null)),
  typename: sane(fc.constantFrom("int", "", "x".repeat(40), "ü".repeat(200))),
  startstops: fc.array(startstop, { maxLength: 3 }).map((list) => new RawValue(packValue(list))),
  status: fc.constant("OK"),
  "stimulus_id-of-more-than-31-characters": fc.constant("s"),
};

const entry: fc.Arbitrary<[WireValue, WireValue]> = fc.oneof(
  {
    arbitrary: fc
      .constantFrom(...Object.keys(fields_of))
      .chain((name) => fc.tuple(fc.constant<WireValue>(name), fields_of[name]!)),
    weight: 8,
  },
  fc.tuple(taskKey, wireValue),
);

/** A message with all the fields that it needs, in any order, and others, repeated ones among them. */
const message: fc.Arbitrary<WireMap> = fc
  .tuple(
    fc.tuple(
      ...Object.entries(fields_of).map(([name, value]) => fc.tuple(fc.constant<WireValue>(name), value)),
    ),
    fc.array(entry, { maxLength: 3 }),
    fc.array(fc.nat(), { minLength: 14, maxLength: 14 }),
    fc.nat(40),
  )
  .map(([all, more, places, left_out]) => {
    const entries = [...all.filter((_, i) => i !== left_out), ...more];
    const order = entries.map((_, i) => i).sort((a, b) => places[a]! - places[b]!);
    return WireMap.from(order.map((i) => entries[i]!));
  });

const packet = fc.array(message, { maxLength: 4 });

/** Reports of one form, in some of which a value or two are other ones. */
const alike = fc
  .tuple(
    message,
    fc.array(fc.array(entry, { maxLength: 2 }), { minLength: 1, maxLength: 8 }),
    fc.record({ key, nbytes: fc.nat(), run_id: fc.nat(), type: fc.constantFrom(null, Buffer.from("t1")) }),
    fc.option(startstop),
    fc.constantFrom("task-finished", "release-worker-data"),
  )
  .map(([message, changes, sound, action, op]) => {
    const base = new Map(message.keys.map((name, i) => [name, message.values[i]!]));
    base.set("op", op);
    for (const [name, value] of Object.entries(sound)) if (value !== null) base.set(name, value);
    if (sound.type === null) base.delete("type");
    if (action !== null) base.set("startstops", [action]);
    const first = WireMap.from([...base]);
    const variants = changes.map((change) => WireMap.from([...new Map([...base, ...change])]));
    const messages = [first, first, first, ...variants];
    return { messages, first_bytes: 1 + 3 * packValue(first).length };
  });

/** Bits that say of each header whether it is to be longer than needed; after them all are short. */
function looseness(bits: readonly boolean[]): () => boolean {
  let at = 0;
  return () => bits[at++] ?? false;
}

function toMessage(frame: Uint8Array): FramedMessage {
  return framed(frameMessage([frame]));
}

/** Only the generic codec looks into what is not read: text there must be UTF-8, references must hold. */
const LEFT_TO_THE_CODEC = new Set(["BAD_UTF8", "BAD_FRAME_REFERENCE", "BAD_SUB_HEADER", "TOO_MANY_VALUES"]);

function attempt(read: () => Row[]): Row[] | ProtocolError {
  try {
    return read();
  } catch (error) {
    if (error instanceof ProtocolError) return error;
    throw error;
  }
}

describe("the reader of workers' packets", () => {
  const { rig, busy, read } = busyRig();
  const isKnown = (bytes: Uint8Array): boolean => rig.scheduler.books.keys.findKey(bytes) !== NONE;

  function compare(frame: Uint8Array, with_times: boolean): void {
    const bytes = toMessage(frame);
    const strip = (rows: Row[]): Row[] =>
      rows.map(({ times, ...row }) => (with_times ? { ...row, times } : row) as Row);
    const got = attempt(() => read(bytes));
    const expected = attempt(() => expectedRows(bytes, isKnown));
    if (!(expected instanceof ProtocolError)) {
      if (got instanceof ProtocolError) throw got;
      expect(strip(got)).toEqual(strip(expected));
    } else if (!LEFT_TO_THE_CODEC.has(expected.code)) expect(got).toBeInstanceOf(ProtocolError);
  }

  test("gives the rows that the generic codec gives, whatever the order, number and form of fields", () => {
    fc.assert(
      fc.property(packet, fc.array(fc.boolean(), { maxLength: 60 }), (messages, bits) => {
        compare(packLoosely(messages, looseness(bits)), true);
      }),
      { numRuns: 800 },
    );
  });

  test("refuses what the generic codec refuses: mutations and truncations", () => {
    const mutation = fc.record({
      at: fc.nat(),
      byte: fc.oneof(fc.nat(255), fc.constantFrom(0xc0, 0xc4, 0xca, 0xcf, 0xd9, 0xdc, 0xdd, 0xdf)),
      kind: fc.constantFrom("set", "insert", "remove", "cut"),
    });
    fc.assert(
      fc.property(packet, fc.array(mutation, { minLength: 1, maxLength: 3 }), (messages, mutations) => {
        let frame = Buffer.from(packValue(messages));
        for (const { at, byte, kind } of mutations) {
          const place = at % (frame.length + 1);
          const rest = frame.subarray(kind === "insert" ? place : place + 1);
          const middle = kind === "remove" ? [] : [byte];
          frame =
            kind === "cut"
              ? frame.subarray(0, place)
              : Buffer.concat([frame.subarray(0, place), Buffer.from(middle), rest]);
        }
        compare(frame, false);
      }),
      { numRuns: 1500 },
    );
  });

  test("gives the rows that the generic codec gives for packets of reports that differ in a few values", () => {
    fc.assert(
      fc.property(alike, ({ messages }) => compare(packValue(messages), true)),
      { numRuns: 800 },
    );
  });

  test("refuses what the generic codec refuses in packets of reports that differ in a few values", () => {
    const bytes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 2 });
    fc.assert(
      fc.property(alike, bytes, ({ messages, first_bytes }, mutations) => {
        const frame = Buffer.from(packValue(messages));
        // What comes first is left as it is, so that there is a form to differ from.
        for (const [at, byte] of mutations) frame[first_bytes + (at % (frame.length - first_bytes))] = byte;
        compare(frame, false);
      }),
      { numRuns: 1500 },
    );
  });

  test.each(GOLDENS.filter(({ ops, flow }) => flow === "peer->sched" && ops.some((op) => HOT.has(op))))(
    "reads $name as the generic codec does",
    (golden) => {
      const bytes = framed([goldenBytes(golden)]);
      const rows = read(bytes);
      expect(rows).toEqual(expectedRows(bytes, isKnown));
      expect(rows.some(({ what }) => what !== OTHER)).toBe(
        golden.ops.some((op) => op === "task-finished" || op === "add-keys"),
      );
    },
  );

  test("a report may come without a name of its type at the very end of the buffer", () => {
    const fields = WireMap.of({
      op: "task-finished",
      key: "k",
      nbytes: 1,
      type: Buffer.from("t"),
      typename: null,
    });
    const rows = read(toMessage(packValue([fields])));
    expect(rows[0]).toMatchObject({ of: "a16b", name: "" });
  });

  test("takes packets of any length from one buffer that is used again", () => {
    const types = new TypeTable();
    const reader = new WorkerReader(rig.scheduler.books, types);
    const memory = Buffer.alloc(1 << 16);
    for (const count of [1, 2, 40, 3, 100]) {
      const reports = Array.from({ length: count }, (_, i) =>
        WireMap.of({ op: "task-finished", key: `k${i}`, nbytes: i, type: Buffer.from("t"), typename: "int" }),
      );
      const bytes = Buffer.concat(frameMessage([packValue(reports)]));
      bytes.copy(memory);
      new FrameReader(FRAME_LIMITS, (message) => {
        reader.read(message, busy);
        expect(rowsOf(rig, reader, types, message)).toEqual(expectedRows(message, isKnown));
      }).push(memory.subarray(0, bytes.length), true);
      expect(reader.count).toBe(count);
    }
  });

  test("grows with the packet", () => {
    const keys = Array.from({ length: 5000 }, (_, i) => `k${i}`);
    const rows = read(toMessage(packValue([WireMap.of({ op: "add-keys", keys, stimulus_id: "s" })])));
    expect(rows.map(({ of }) => keyValue(Buffer.from(String(of), "hex")))).toEqual(keys);
  });
});

const HOT = new Set(["task-finished", "add-keys", "release-worker-data"]);

test("a report of a key that was forgotten and came again is the new task's", () => {
  const rig = new Rig();
  const { book } = rig.worker("2026.8", 3);
  const { id } = rig.client();
  // a is done, b behind it in the list of processing tasks.
  rig.submit(id, [{ key: "a" }, { key: "b" }], ["a", "b"]);
  rig.turn();
  const old = rig.task("b");
  expect(book.first_processing).toBe(rig.task("a"));
  expect(rig.scheduler.books.tasks.next_processing[rig.task("a")]).toBe(old);
  rig.finish(book, "a");
  rig.turn();
  // Within one turn b is forgotten and comes again: the id of the old one still has its bytes.
  rig.release(id, "b");
  rig.submit(id, [{ key: "b" }], ["b"]);
  expect(rig.task("b")).not.toBe(old);
  expect(rig.scheduler.books.tasks.next_processing[rig.task("a")]).toBe(old);
  const reader = new WorkerReader(rig.scheduler.books, rig.types);
  const report = (key: string): WireMap => WireMap.of({ op: "task-finished", key, nbytes: 1, run_id: 1 });
  reader.read(toMessage(packValue([report("a"), report("b")])), book);
  expect([...reader.task.subarray(0, 2)]).toEqual([rig.task("a"), rig.task("b")]);
});

describe("the table of types", () => {
  const intern = (types: TypeTable, type: string, name: string): number =>
    types.internValue(packValue(Buffer.from(type)), name);

  test("keeps each type once, with the name that it came with first", () => {
    const types = new TypeTable();
    const first = intern(types, "a", "int");
    const second = intern(types, "b", "str");
    expect(intern(types, "a", "other")).toBe(first);
    expect(second).not.toBe(first);
    expect([types.name(first), types.name(second), types.name(NONE)]).toEqual(["int", "str", ""]);
    expect(unpackValue(types.bytes(first))).toEqual(Buffer.from("a"));
    expect(unpackValue(types.bytes(NONE))).toBeNull();
  });

  test("takes no more than 65,536 types, and goes on to know those", () => {
    const types = new TypeTable();
    for (let i = 0; i < 65_536; i++) expect(intern(types, `t${i}`, "t")).toBe(i);
    expect(intern(types, "one more", "t")).toBe(NONE);
    expect(intern(types, "t7", "t")).toBe(7);
  });

  test("takes no more than 64 MiB of types", () => {
    const types = new TypeTable();
    const large = "x".repeat(24 * 1024 * 1024);
    expect(intern(types, `1${large}`, "t")).toBe(0);
    expect(intern(types, `2${large}`, "t")).toBe(1);
    expect(intern(types, `3${large}`, "t")).toBe(NONE);
    expect(intern(types, "small", "t")).toBe(2);
  });
});
