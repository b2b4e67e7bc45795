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
  /** Where the next bytes may be read to instead, to stay there; null: nowhere. */
  room: () => Buffer | null;
  /** So many bytes were read to the last room. */
  filled: (count: number) => void;
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
  let reads_to: Buffer = READ_BUFFER;
  let was_read = false;
  /** Asked when a handle is set up, and after each read; then undefined leaves it as it is. */
  const buffer = (): Buffer | undefined => {
    const next = target.room() ?? READ_BUFFER;
    const unchanged = was_read && next === reads_to;
    was_read = false;
    reads_to = next;
    return unchanged ? undefined : next;
  };
  return {
    buffer: buffer as () => Buffer,
    callback: (length) => {
      was_read = true;
      if (reads_to === READ_BUFFER) target.receive(READ_BUFFER.subarray(0, length));
      else target.filled(length);
      return true;
    },
  };
}
