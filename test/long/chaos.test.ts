import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { type Program, RELEASES, RealCluster } from "../interop/support/processes.ts";
import { CuttingProxy } from "./support/cutting-proxy.ts";

const SCRIPT = fileURLToPath(new URL("support/chaos.py", import.meta.url));
const REPEATS = 20;
const WORKERS = 4;

test.each(RELEASES)(
  "200 tasks of %s give right results while workers are killed, stopped, restarted and cut off",
  async (release) => {
    const cluster = new RealCluster(release, {
      DASK_DISTRIBUTED__SCHEDULER__VALIDATE: "True",
      DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL: "6s",
      DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES: "10",
    });
    const proxy = new CuttingProxy();
    let over = false;
    const address = { through: "", cut: 0 };
    let number = 0;
    /** A worker that has ended for good is followed by another. */
    const keepWorker = async (): Promise<void> => {
      while (!over) {
        const worker: Program = cluster.startWorker({
          name: `w${number++}`,
          nanny: true,
          scheduler: address.through,
        });
        await worker.ended;
      }
    };
    try {
      await cluster.startScheduler();
      const ports = await proxy.start(Number(cluster.address.split(":").at(-1)));
      address.through = `tcp://127.0.0.1:${ports.through}`;
      for (let i = 0; i < WORKERS; i++) void keepWorker();
      const printed = await cluster.runClient(SCRIPT, [`${REPEATS}`, "127.0.0.1", `${ports.cut}`], 1_100_000);
      process.stdout.write(printed);
      expect(printed.match(/^repeat /gm)).toHaveLength(REPEATS);
      expect(proxy.cuts).toBe(REPEATS / 4);
      expect(cluster.scheduler.output).not.toMatch(/met a bug|InvariantError/);
      expect(await cluster.scheduler.end("SIGTERM")).toBe(0);
    } finally {
      over = true;
      await cluster.close();
      proxy.close();
    }
  },
);
