/** Entry of the fleet's thread: a {@link FleetSession} over TCP, driven by messages of the host (`host.ts`). */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { unreachable } from "../../src/base/assert.ts";
import { TcpTransport } from "../../src/comm/tcp.ts";
import { figuresToMessage } from "../../src/trace/figures.ts";
import { Recorder } from "../../src/trace/recorder.ts";
import { Probe } from "../../src/trace/tracer.ts";
import { Plant, PlantingTracer } from "../calibrate/plant.ts";
import { FleetSession } from "./session.ts";
import type { ThreadData, ThreadMessage, ThreadRequest, ThreadResult } from "./thread-protocol.ts";

if (parentPort === null) throw new Error("thread.ts is the entry of a worker thread");
serve(parentPort, workerData as ThreadData);

function serve(port: MessagePort, options: ThreadData): void {
  const tell = (message: ThreadMessage): void => port.postMessage(message);
  const recorder = options.trace ? new Recorder() : null;
  const tracer =
    recorder === null || options.plant === undefined
      ? recorder
      : new PlantingTracer(recorder, new Plant(options.plant));
  const session = new FleetSession(options, {
    transport: new TcpTransport({ probe: new Probe(tracer) }),
    tracing: { host: null, own: tracer },
    recorder,
    log: (text) => tell({ kind: "log", text }),
  });
  let previous: Promise<void> = Promise.resolve();
  port.on("message", (request: ThreadRequest) => {
    previous = previous
      .then(() => run(session, request))
      .then(
        (result) => tell({ kind: "done", result }),
        (error: unknown) =>
          tell({ kind: "failed", error: error instanceof Error ? error.message : String(error) }),
      )
      .then(() => {
        // Without its port nothing keeps the thread alive.
        if (request.kind === "close") port.close();
      });
  });
}

function run(session: FleetSession, request: ThreadRequest): Promise<ThreadResult> {
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
