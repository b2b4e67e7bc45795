import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { handshakeAsConnector } from "../../src/comm/handshake.ts";
import { TcpTransport } from "../../src/comm/tcp.ts";
import { decodeMessage } from "../../src/protocol/message.ts";
import { WireMap } from "../../src/protocol/values.ts";
import { Channel } from "../../src/server/peers/channel.ts";
import { RsdsProcess } from "./rsds-process.ts";

const folder = mkdtempSync(join(tmpdir(), "rsds-config-"));
const running: RsdsProcess[] = [];

afterEach(async () => {
  await Promise.all(running.splice(0).map((scheduler) => scheduler.kill()));
  rmSync(folder, { recursive: true, force: true });
});

/** `rsds scheduler` with a configuration of its own: one file, and variables. */
function scheduler(yaml: string, env: Record<string, string> = {}, ...args: string[]): RsdsProcess {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "mine.yaml"), yaml);
  const places = { HOME: folder, DASK_ROOT_CONFIG: join(folder, "none"), DASK_CONFIG: folder };
  const free = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"];
  const process_ = new RsdsProcess(["scheduler", ...free, ...args], { env: { ...env, ...places } });
  running.push(process_);
  return process_;
}

describe("rsds scheduler with Dask's configuration", () => {
  test("serves what it names, under the names that it wants", async () => {
    const yaml = `
distributed:
  scheduler:
    http: {routes: [distributed.http.scheduler.prometheus, distributed.http.scheduler.api]}
  dashboard:
    link: "/proxy/{RSDS_TEST_USER}/{port}/status"
    prometheus: {namespace: mine}
`;
    const { said } = bound(scheduler(yaml, { RSDS_TEST_USER: "ann" }));
    const port = (await said(/dashboard at: +\/proxy\/ann\/(\d+)\/status/))[1];
    const get = async (path: string): Promise<Response> => fetch(`http://127.0.0.1:${port}${path}`);
    expect(await (await get("/metrics")).text()).toContain("\nmine_scheduler_clients 0\n");
    expect(await (await get("/api/v1/get_workers")).json()).toEqual({ num_workers: 0, workers: [] });
    expect((await get("/health")).status).toBe(404);
  });

  test("refuses requests that it blocks, and tells peers of the address that it names", async () => {
    const { said } = bound(
      scheduler(
        "",
        {
          DASK_DISTRIBUTED__SCHEDULER__BLOCKED_HANDLERS: "['identity', 'broadcast']",
          DASK_DISTRIBUTED__SCHEDULER__CONTACT_ADDRESS: "tcp://scheduler.example:8786",
        },
        "--scheduler-file",
        join(folder, "s.json"),
      ),
    );
    await said(/Scheduler at: tcp:\/\/scheduler\.example:8786/);
    const port = (await said(/Listening on tcp:\/\/127\.0\.0\.1:(\d+)/))[1];
    const connection = await new TcpTransport().connect(`tcp://127.0.0.1:${port}`);
    const channel = new Channel(await handshakeAsConnector(connection));
    const ask = async (op: string): Promise<unknown> => {
      channel.write(WireMap.of({ op, reply: true }));
      const message = await channel.read();
      return message === null ? null : decodeMessage(message);
    };
    const refused = await ask("identity");
    expect(refused instanceof WireMap && refused.get("exception_text")).toMatch(
      /^ValueError\('The \\'identity\\' handler has been explicitly disallowed in Scheduler/,
    );
    expect(await ask("ncores")).toBeInstanceOf(WireMap);
    channel.destroy("test");
  });

  test("prints what its level lets through", async () => {
    const process_ = scheduler(
      "logging: {distributed: warning}\n",
      {},
      "--scheduler-file",
      "/dev/null/s.json",
    );
    const { status, stderr } = await process_.ended;
    expect(status).toBe(1);
    expect(stderr).toMatch(/^[^\n]* - ERROR - Cannot write \/dev\/null[^\n]*\n$/);
    expect(stderr).not.toMatch(/ - INFO - /);
  });

  test.each([
    [
      "distributed: {scheduler: {worker-ttl: soon}}",
      /configuration distributed\.scheduler\.worker-ttl: "soon"/,
    ],
    ["distributed: [", /the dask config file .*mine\.yaml is malformed/],
    ["distributed: {comm: {default-scheme: ucx}}", /protocol ucx/],
    [
      "distributed: {scheduler: {dashboard: {tls: {cert: /nowhere.pem}}}}",
      /dashboard\.tls: cannot read \/nowhere\.pem/,
    ],
  ])("ends with 2 and one line for %s", async (yaml, reason) => {
    const { status, stderr } = await scheduler(yaml).ended;
    expect(status).toBe(2);
    expect(stderr).toMatch(reason);
    expect(stderr.trimEnd()).not.toContain("\n");
  });

  test("lets options win", async () => {
    const yaml = "distributed: {scheduler: {idle-timeout: 1h}, comm: {default-scheme: ucx}}";
    const process_ = scheduler(yaml, {}, "--protocol", "tcp", "--idle-timeout", "300ms");
    expect((await process_.ended).status).toBe(0);
  });
});

function bound(process_: RsdsProcess): { said: RsdsProcess["said"] } {
  return { said: (pattern) => process_.said(pattern) };
}
