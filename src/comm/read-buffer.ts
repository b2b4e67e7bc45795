import {
  connect,
  type OnReadOpts,
  Socket,
  type SocketConstructorOpts,
  type TcpNetConnectOpts,
} from "node:net";

/**
 * One buffer that every socket of the process reads into: the kernel's bytes are handed on within the same callback,
 * so no two reads ever need it at once. Without it Node allocates 64 KiB for each read.
 */
const READ_BUFFER = Buffer.allocUnsafeSlow(256 * 1024);

/** Where a socket's bytes go. Its owner sets `receive` before the socket reads. */
export interface ReadTarget {
  /** `bytes` are valid only until it returns. */
  receive: (bytes: Buffer) => void;
}

/** A socket that connects, and reads into the shared buffer. */
export function connectWithReadBuffer(options: TcpNetConnectOpts, target: ReadTarget): Socket {
  return connect({ ...options, onread: onread(target) });
}

/**
 * The same peer as an accepted (and paused) socket, read into the shared buffer: net.Server has no such option, so
 * the socket's handle moves to one that has, as child_process and cluster do with handles. Null where this release
 * of Node has no such handle; then 'data' events serve.
 */
export function adoptWithReadBuffer(accepted: Socket, target: ReadTarget): Socket | null {
  const holder = accepted as unknown as { _handle: { useUserBuffer?: unknown } | null };
  const handle = holder._handle;
  if (handle === null || typeof handle !== "object" || typeof handle.useUserBuffer !== "function")
    return null;
  holder._handle = null;
  // Without its handle the accepted socket is an empty shell; its end only takes it off the server's count.
  accepted.destroy();
  // `handle` and `pauseOnCreate` are what net.Server itself passes, though not documented.
  const options = { handle, pauseOnCreate: true, onread: onread(target) } as SocketConstructorOpts;
  return new Socket(options);
}

function onread(target: ReadTarget): OnReadOpts {
  return {
    buffer: READ_BUFFER,
    callback: (length) => {
      target.receive(READ_BUFFER.subarray(0, length));
      return true;
    },
  };
}
