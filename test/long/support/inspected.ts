import { WebSocket } from "ws";
import type { Program } from "../../interop/support/processes.ts";

/** A running Node of ours that was started with `--inspect`, asked for its memory through its inspector. */
export class Inspected {
  readonly #socket: WebSocket;
  #next_id = 1;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  static async attach(program: Program): Promise<Inspected> {
    const url = /Debugger listening on (ws:\S+)/.exec(program.output)?.[1];
    if (url === undefined) throw new Error(`${program.name} was not started with --inspect`);
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    return new Inspected(socket);
  }

  /** Bytes of heap and of memory outside it, after forced collections. */
  async memoryBytes(): Promise<number> {
    // What a finalizer frees, the next collection finds.
    for (let i = 0; i < 3; i++) await this.#call("HeapProfiler.collectGarbage", {});
    const expression = "(({ heapUsed, external }) => heapUsed + external)(process.memoryUsage())";
    const { result } = (await this.#call("Runtime.evaluate", { expression })) as {
      result: { value: number };
    };
    return result.value;
  }

  close(): void {
    this.#socket.close();
  }

  #call(method: string, params: object): Promise<unknown> {
    const id = this.#next_id++;
    return new Promise((resolve) => {
      const onMessage = (data: Buffer): void => {
        const answer = JSON.parse(data.toString()) as { id?: number; result?: unknown };
        if (answer.id !== id) return;
        this.#socket.off("message", onMessage);
        resolve(answer.result);
      };
      this.#socket.on("message", onMessage);
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }
}
