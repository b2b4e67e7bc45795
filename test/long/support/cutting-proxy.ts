import { connect, createServer, type Server, type Socket } from "node:net";

function listen(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : 0);
    });
  });
}

/** Passes TCP connections on to `port`, and cuts them all whenever somebody connects to its other address. */
export class CuttingProxy {
  readonly #sockets = new Set<Socket>();
  readonly #servers: Server[] = [];
  cuts = 0;

  /** Answers the two ports: that which is passed on, and that which cuts. */
  async start(port: number): Promise<{ through: number; cut: number }> {
    const through = createServer((near) => {
      const far = connect(port, "127.0.0.1");
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(one);
        one.on("error", () => undefined);
        one.on("close", () => {
          this.#sockets.delete(one);
          other.destroy();
        });
      }
      near.pipe(far);
      far.pipe(near);
    });
    const cutter = createServer((socket) => {
      socket.on("error", () => undefined).destroy();
      this.cuts++;
      for (const one of this.#sockets) one.destroy();
    });
    this.#servers.push(through, cutter);
    return { through: await listen(through), cut: await listen(cutter) };
  }

  close(): void {
    for (const server of this.#servers) server.close();
    for (const one of this.#sockets) one.destroy();
  }
}
