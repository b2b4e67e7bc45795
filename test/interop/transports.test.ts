import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { RELEASES, RealCluster } from "./support/processes.ts";

const PEM = fileURLToPath(new URL("../comm/certificates/", import.meta.url));
const files = (name: string): string[] => [
  ...["--tls-ca-file", join(PEM, "ca.pem")],
  ...["--tls-cert", join(PEM, `${name}.pem`)],
  ...["--tls-key", join(PEM, `${name}.key`)],
];
const CLIENT = [join(PEM, "ca.pem"), join(PEM, "peer.pem"), join(PEM, "peer.key")];
const clusters: RealCluster[] = [];

afterEach(async () => {
  await Promise.all(clusters.splice(0).map((cluster) => cluster.close()));
});

async function cluster(release: string, args: readonly string[]): Promise<RealCluster> {
  const made = new RealCluster(release);
  clusters.push(made);
  await made.startScheduler(args);
  return made;
}

describe.each(RELEASES)("peers of %s", (release) => {
  test("work over tls, with nannies too", async () => {
    const real = await cluster(release, files("peer"));
    expect(real.address).toMatch(/^tls:\/\//);
    real.startWorker({ name: "a", args: files("peer") });
    real.startWorker({ name: "b", nanny: true, args: files("peer") });
    expect(await real.runClient("transports.py", ["2", ...CLIENT])).toContain("fine");
  }, 240_000);

  test.each([
    ["ws", [], []],
    ["wss", files("peer"), CLIENT],
  ])(
    "work over %s",
    async (scheme, args, client) => {
      const real = await cluster(release, ["--protocol", scheme, ...args]);
      expect(real.address).toMatch(new RegExp(`^${scheme}://`));
      real.startWorker({ name: "a", args });
      expect(await real.runClient("transports.py", ["1", ...client])).toContain("fine");
    },
    120_000,
  );

  test("are refused with a stranger's certificate, in one line each", async () => {
    const real = await cluster(release, files("peer"));
    const stranger = real.startWorker({ name: "stranger", args: files("stranger") });
    const worker = real.startWorker({ name: "a", args: files("peer") });
    const { scheduler } = real;
    await scheduler.waitFor("refusal", () => scheduler.output.includes("TLS handshake failed"), 60_000);
    await stranger.end();
    expect(await real.runClient("transports.py", ["1", ...CLIENT])).toContain("fine");
    await worker.end();
    const lines = scheduler.output.split("\n").filter((line) => / - (WARNING|ERROR) - /.test(line));
    expect(
      lines.filter((line) => !/TLS handshake failed with remote tls:\/\/127\.0\.0\.1/.test(line)),
    ).toEqual([]);
  }, 240_000);
});
