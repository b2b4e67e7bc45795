import { ClientStandIn } from "../../simulator/fleet/client.ts";
import { SystemFleetClock } from "../../simulator/fleet/clock.ts";
import { clientOrder, GraphMessage, packGraph } from "../../simulator/fleet/graph-message.ts";
import { parseWorkload } from "../../simulator/workloads/index.ts";
import { TcpTransport } from "../../src/comm/tcp.ts";
import { versionsOf } from "../server/support/world.ts";

/** Has the client stand-in compute a workload at a running scheduler `times` times, and releases it each time. */
export async function submit(address: string, spec: string, times = 1): Promise<void> {
  const client = new ClientStandIn(new TcpTransport(), new SystemFleetClock());
  await client.connect(address, versionsOf("2026.8.0"));
  const workload = await parseWorkload(spec);
  const graph = new GraphMessage(packGraph(workload, clientOrder(workload.tasks)));
  for (let i = 0; i < times; i++) {
    const suffix = `-${i}`;
    const wanted = graph.wantedKeys(suffix);
    await client.submit(graph.chunks(suffix), wanted);
    client.release(wanted);
  }
  client.close();
}
