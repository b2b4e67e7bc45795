import { waitForOwnerToClose } from "./connection.ts";

/** Tells the end of a connection exactly once, to the first owner there is. */
export class Ending {
  #handler: (reason: string) => void = waitForOwnerToClose;
  #reason: string | null = null;
  #told = false;

  get handler(): (reason: string) => void {
    return this.#handler;
  }

  set handler(handler: (reason: string) => void) {
    this.#handler = handler;
    // An owner that comes late is told later, too: he must not be called back while he sets things up.
    if (this.#reason !== null) queueMicrotask(() => this.#tell());
  }

  /** The connection has ended. */
  end(reason: string): void {
    this.#reason ??= reason;
    this.#tell();
  }

  #tell(): void {
    if (this.#told || this.#reason === null || this.#handler === waitForOwnerToClose) return;
    this.#told = true;
    this.#handler(this.#reason);
  }
}
