import { networkInterfaces } from "node:os";
import { describe, expect, test } from "vitest";
import { InformationRequest, UsageError } from "../../src/cli/errors.ts";
import { parseDuration, parseSchedulerOptions } from "../../src/cli/scheduler-options.ts";

function parse(...argv: string[]): ReturnType<typeof parseSchedulerOptions> {
  return parseSchedulerOptions(argv, "1.2.3");
}

function refusal(...argv: string[]): string {
  try {
    parse(...argv);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  throw new Error(`${argv.join(" ")} was accepted`);
}

describe("where to listen", () => {
  test.each([
    [[], "tcp://:8786", true],
    [["--port", "0"], "tcp://:0", true],
    [["--host", "127.0.0.1"], "tcp://127.0.0.1:8786", false],
    [["--host", "tcp://127.0.0.1:9000"], "tcp://127.0.0.1:9000", false],
    [["--host", "example.org", "--port", "9"], "tcp://example.org:9", false],
    [["--host", "[::1]:77"], "tcp://[::1]:77", false],
    [["--host", "0.0.0.0"], "tcp://0.0.0.0:8786", true],
    [["--host", "[::]"], "tcp://[::]:8786", true],
    [["--protocol", "tcp://", "--host", "1.2.3.4"], "tcp://1.2.3.4:8786", false],
  ])("%j is %s", (argv, address, wildcard) => {
    expect(parse(...argv)).toMatchObject({ listen_address: address, wildcard });
  });

  test("an interface is its IPv4 address", () => {
    const found = Object.entries(networkInterfaces()).find(([, list]) =>
      list?.some((i) => i.family === "IPv4"),
    );
    const [name, list] = found ?? ["", []];
    const address = list?.find((i) => i.family === "IPv4")?.address;
    expect(parse("--interface", name).listen_address).toBe(`tcp://${address}:8786`);
    expect(refusal("--interface", "no0")).toMatch(/'no0' is not a network interface; there are: /);
  });

  test.each([
    [["--host", "h:1", "--port", "2"], /two ports/],
    [["--host", "h", "--interface", "lo"], /leave one of them out/],
    [["--host", "::1"], /brackets/],
    [["--port", "x"], /0 to 65535/],
    [["--port", "70000"], /0 to 65535/],
    [["--port", "1,2"], /several ports/],
  ])("%j is refused", (argv, reason) => {
    expect(refusal(...argv)).toMatch(reason);
  });
});

describe("what is not supported yet says so", () => {
  test.each([
    [["--jupyter"], "--jupyter"],
    [["--show"], "--show"],
    [["--use-xheaders", "true"], "--use-xheaders"],
    [["--preload", "a.py"], "--preload"],
    [["--preload", "a.py", "--preload", "b.py"], "--preload"],
    [["--protocol", "ucx"], "protocol ucx"],
    [["--host", "ucx://1.2.3.4"], "protocol ucx"],
    [["word"], "PRELOAD_ARGV (word)"],
  ])("%j", (argv, name) => {
    const text = refusal(...argv);
    expect(text.startsWith(`${name} is not supported yet: `)).toBe(true);
    expect(text).not.toContain("\n");
  });

  test("options that ask for nothing are satisfied", () => {
    const argv = ["--no-jupyter", "--no-show", "--use-xheaders", "False", "--dashboard-prefix", ""];
    expect(parse(...argv)).toEqual(parse());
  });

  test("an unknown option is refused in one line", () => {
    expect(refusal("--bogus")).toMatch(/^unknown option '--bogus'/);
    expect(refusal("--schedule", "x")).not.toContain("\n");
    expect(refusal("--scheduler", "fifo")).toMatch(/workstealing, random/);
    expect(refusal("--zero-workers", "-1")).toMatch(/--zero-workers/);
  });
});

test("the rest is read", () => {
  const argv =
    "--pid-file p --scheduler-file s --idle-timeout 5m --scheduler random --python /py --trace tasks".split(
      " ",
    );
  expect(parse(...argv, "--zero-workers", "168")).toMatchObject({
    listen_address: "tcp://:8786",
    wildcard: true,
    pid_file: "p",
    scheduler_file: "s",
    idle_timeout_ms: 300_000,
    scheduler: "random",
    python: "/py",
    trace: "tasks",
    out: null,
    stimulus_log: null,
    training: false,
    zero_workers: 168,
  });
});

describe("certificates", () => {
  const folder = "test/comm/certificates";
  const PEER = [
    ...["--tls-ca-file", `${folder}/ca.pem`],
    ...["--tls-cert", `${folder}/peer.pem`],
    ...["--tls-key", `${folder}/peer.key`],
  ];

  test("mean tls where no protocol is named, and that nobody is spoken to in the clear", () => {
    const options = parse("--host", "1.2.3.4", ...PEER);
    expect(options.listen_address).toBe("tls://1.2.3.4:8786");
    expect(options.security.require_encryption).toBe(true);
    expect(options.security.tls).toMatchObject({ minVersion: "TLSv1.2" });
    expect(parse().security).toEqual({ tls: null, require_encryption: false });
  });

  test.each([
    [["--protocol", "tls"], /^protocol tls needs certificates/],
    [
      ["--tls-cert", `${folder}/peer.pem`, "--tls-key", `${folder}/peer.key`],
      /^protocol tls needs certificates/,
    ],
    [[...PEER, "--protocol", "tcp"], /^protocol tcp is not encrypted/],
    [[...PEER, "--host", "tcp://h"], /^protocol tcp is not encrypted/],
    [[...PEER, "--zero-workers", "2"], /^--zero-workers speak tcp alone/],
    [[...PEER, "--tls-cert", "/nowhere.pem"], /^TLS: cannot read \/nowhere\.pem/],
    [[...PEER, "--tls-key", `${folder}/stranger.key`], /^TLS: .*peer\.pem and its key cannot be used/],
    [[...PEER, "--tls-key", `${folder}/peer.pem`], /^TLS: .*cannot be used/],
    [[...PEER, "--protocol", "tls", "--host", "tcp://h"], /^two protocols are given/],
  ])("%j is refused in one line", (argv, reason) => {
    const text = refusal(...argv);
    expect(text).toMatch(reason);
    expect(text).not.toContain("\n");
  });
});

describe("the dashboard", () => {
  test.each([
    [[], [{ host: "0.0.0.0", port: 8787 }], true, ""],
    [["--dashboard-address", "0"], [{ host: "0.0.0.0", port: 0 }], true, ""],
    [["--dashboard-address", "h:12", "--no-dashboard"], [{ host: "h", port: 12 }], false, ""],
    [["--dashboard-address", "h", "--dashboard"], [{ host: "h", port: 0 }], true, ""],
    [
      ["--dashboard-address", "[::1]:9", "--dashboard-prefix", "/p/"],
      [{ host: "::1", port: 9 }],
      true,
      "/p/",
    ],
    [
      ["--dashboard-address", ":1,:2"],
      [
        { host: "0.0.0.0", port: 1 },
        { host: "0.0.0.0", port: 2 },
      ],
      true,
      "",
    ],
  ])("%j", (argv, addresses, status_page, prefix) => {
    expect(parse(...argv).dashboard).toMatchObject({ addresses, status_page, prefix });
  });

  test.each(["::1", "h:x", "h:70000", "http://h:1/x"])("an address %s is refused in one line", (address) => {
    expect(refusal("--dashboard-address", address)).toMatch(/^--dashboard-address: .*$/);
  });
});

test.each([
  ["300", 300_000],
  ["5 minutes", 300_000],
  ["1.5h", 5_400_000],
  ["hour", 3_600_000],
  ["250ms", 250],
  ["2 Days", 172_800_000],
])("a time of %s is %d ms", (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

test.each(["", "five", "1 fortnight", "-3", "1.2.3"])("%j is no time", (text) => {
  expect(() => parseDuration(text)).toThrow();
});

test("help and version are asked for, not failures", () => {
  expect(() => parse("--version")).toThrow(new InformationRequest("1.2.3\n"));
  let help = "";
  try {
    parse("--help");
  } catch (error) {
    if (error instanceof InformationRequest) help = error.message;
  }
  // All of `dask scheduler --help`, 2026.8.0.
  for (const option of [
    "--host",
    "--port",
    "--interface",
    "--protocol",
    "--tls-ca-file",
    "--tls-cert",
    "--tls-key",
    "--dashboard-address",
    "--dashboard",
    "--no-dashboard",
    "--jupyter",
    "--no-jupyter",
    "--show",
    "--no-show",
    "--dashboard-prefix",
    "--use-xheaders",
    "--pid-file",
    "--scheduler-file",
    "--preload",
    "--idle-timeout",
    "--version",
    "-h, --help",
  ]) {
    expect(help).toContain(option);
  }
});
