import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { HttpServer, htmlReply, plainReply, type Route } from "../../src/dashboard/http-server.ts";

const servers: HttpServer[] = [];
const bugs: string[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

const ROUTES: readonly Route[] = [
  { method: "GET", pattern: /^\/hello$/, answer: () => htmlReply("<p>hello</p>") },
  { method: "GET", pattern: /^\/say\/(.+)$/s, answer: (_request, [what]) => plainReply(200, what ?? "") },
  { method: "POST", pattern: /^\/echo$/, answer: ({ body }) => plainReply(200, body) },
  { method: "GET", pattern: /^\/large$/, answer: () => plainReply(200, "x".repeat(20_000_000)) },
  {
    method: "GET",
    pattern: /^\/bug$/,
    answer: () => {
      throw new Error("a bug");
    },
  },
];

async function start(prefix = ""): Promise<number> {
  const server = new HttpServer({
    routes: ROUTES,
    prefix,
    tls: null,
    onBug: (path, error) => bugs.push(`${path}: ${String(error)}`),
  });
  servers.push(server);
  return server.listen({ host: "127.0.0.1", port: 0 });
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

function ask(port: number, path: string, method = "GET", body = ""): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: "127.0.0.1", port, path, method, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => {
        text += part;
      });
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text });
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}

/** Sends bytes as they are; answers what came back until the server closed. */
function raw(port: number, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes));
    socket.setEncoding("latin1");
    socket.on("data", (part: string) => {
      text += part;
    });
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(text));
  });
}

describe("an HTTP server", () => {
  test("answers GET, and HEAD with the same headers and no body", async () => {
    const port = await start();
    const get = await ask(port, "/hello?x=1");
    const head = await ask(port, "/hello", "HEAD");
    expect([get.status, get.body]).toEqual([200, "<p>hello</p>"]);
    expect(get.headers["content-security-policy"]).toContain("default-src 'self'");
    expect([head.status, head.body, head.headers["content-length"]]).toEqual([200, "", "12"]);
  });

  test("has 404 for what is not there, 405 for what is there in another way", async () => {
    const port = await start();
    expect((await ask(port, "/nothing")).status).toBe(404);
    expect((await ask(port, "/%zz")).status).toBe(404);
    const wrong = await ask(port, "/hello", "POST", "x");
    expect([wrong.status, wrong.headers.allow]).toEqual([405, "GET, HEAD"]);
    const other = await ask(port, "/echo");
    expect([other.status, other.headers.allow]).toEqual([405, "POST"]);
  });

  test("serves below its prefix alone", async () => {
    const port = await start("/deep");
    expect((await ask(port, "/deep/hello")).status).toBe(200);
    expect((await ask(port, "/hello")).status).toBe(404);
    expect((await ask(port, "/deeper/hello")).status).toBe(404);
  });

  test("decodes paths", async () => {
    const port = await start();
    expect((await ask(port, "/say/tcp%3A%2F%2Fh%3A1%0A")).body).toBe("tcp://h:1\n");
  });

  test("reads bodies up to a bound, and refuses longer ones", async () => {
    const port = await start();
    expect((await ask(port, "/echo", "POST", "hi")).body).toBe("hi");
    // The reply may come while the body is still being sent.
    const outcome = await ask(port, "/echo", "POST", "x".repeat(200_000)).catch(() => ({ status: 413 }));
    expect(outcome.status).toBe(413);
    expect((await ask(port, "/hello")).status).toBe(200);
  });

  test("refuses what is no HTTP, and headers that are too long", async () => {
    const port = await start();
    expect(await raw(port, "\x00\x01\x02 nonsense\r\n\r\n")).toMatch(/^HTTP\/1.1 400 /);
    expect(await raw(port, `GET /hello HTTP/1.1\r\nHost: h\r\nX: ${"x".repeat(40_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1.1 4\d\d /,
    );
    expect((await ask(port, "/hello")).status).toBe(200);
  });

  test("tells of a bug in a page, and lives on", async () => {
    const port = await start();
    expect((await ask(port, "/bug")).status).toBe(500);
    expect(bugs).toEqual(["/bug: Error: a bug"]);
    expect((await ask(port, "/hello")).status).toBe(200);
  });

  test("makes no more replies than it has room for while nobody reads them", async () => {
    const port = await start();
    const sockets: Socket[] = [];
    for (let i = 0; i < 4; i++) {
      const socket = connect(port, "127.0.0.1", () => {
        socket.write("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
      });
      socket.pause();
      socket.on("error", () => undefined);
      sockets.push(socket);
    }
    let status = 0;
    for (let i = 0; i < 100 && status !== 503; i++) {
      await sleep(20);
      // A reply of 20 MB that is read leaves room again: only the paused ones hold theirs.
      status = (await ask(port, "/large", "HEAD")).status;
    }
    expect(status).toBe(503);
    for (const socket of sockets) socket.destroy();
    for (let i = 0; i < 100 && status !== 200; i++) {
      await sleep(20);
      status = (await ask(port, "/large")).status;
    }
    expect(status).toBe(200);
  });
});
