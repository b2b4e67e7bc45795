/**
 * Entry of the fleet's process: a {@link FleetSession} over TCP, driven by messages of its parent (`host.ts`). It
 * ends with its parent, however that ends.
 */
import { unreachable } from "../../src/base/assert.ts";
import { TcpTransport } from "../../src/comm/tcp.ts";
import { figuresToMessage } from "../../src/trace/figures.ts";
import { Recorder } from "../../src/trace/recorder.ts";
import { Probe } from "../../src/trace/tracer.ts";
import { Plant, PlantingTracer } from "../calibrate/plant.ts";
import type { FleetMessage, FleetRequest, FleetResult } from "./process-protocol.ts";
import { FleetSession, type SessionOptions } from "./session.ts";

if (process.send === undefined) throw new Error("process.ts is the entry of a child process");
// Ctrl-C reaches the whole group of processes: what becomes of the fleet is for its parent to say.
process.on("SIGINT", () => undefined);
process.on("disconnect", () => process.exit(1));
serve();

function tell(message: FleetMessage): void {
  if (process.connected) process.send?.(message);
}

function serve(): void {
  const plant = new Plant();
  let session: FleetSession | null = null;
  let previous: Promise<void> = Promise.resolve();
  process.on("message", (request: FleetRequest) => {
    previous = previous
      .then(() => {
        if (request.kind === "start") session = open(request.options, plant);
        if (session === null) throw new Error("the fleet is not started");
        return answer(session, plant, request);
      })
      .then(
        (result) => tell({ kind: "done", result }),
        (error: unknown) =>
          tell({ kind: "failed", error: error instanceof Error ? error.message : String(error) }),
      )
      .then(() => {
        // Without its channel nothing keeps the process alive.
        if (request.kind !== "close") return;
        process.removeAllListeners("disconnect");
        process.disconnect();
      });
  });
}

function open(options: SessionOptions, plant: Plant): FleetSession {
  const recorder = options.trace ? new Recorder() : null;
  const tracer = recorder === null || !options.planting ? recorder : new PlantingTracer(recorder, plant);
  return new FleetSession(options, {
    transport: new TcpTransport({ probe: new Probe(tracer) }),
    tracing: { host: null, own: tracer },
    recorder,
    log: (text) => tell({ kind: "log", text }),
  });
}

function answer(session: FleetSession, plant: Plant, request: FleetRequest): Promise<FleetResult> {
  switch (request.kind) {
    case "start":
      return session.start();
    case "load":
      return session.load(request.graph).then(() => undefined);
    case "prepare":
      return session.prepare(request.suffix).then(() => undefined);
    case "submit":
      return session.submit();
    case "recorded":
      return session.recorded().then((figures) => (figures === null ? null : figuresToMessage(figures)));
    case "stamps":
      return session.stamps();
    case "plant":
      if (request.dose === null) plant.disarm();
      else plant.arm(request.dose.phase, request.dose.delay_ns, request.dose.delays_max);
      return Promise.resolve(null);
    case "planted":
      return Promise.resolve(plant.moments());
    case "release":
      return session.release(request.timeout_ms);
    case "figures":
      return session.figures();
    case "close":
      return session.close().then(() => undefined);
    default:
      return unreachable(request);
  }
}
