import { formatRecord, LOG_LEVELS, type LogLevel, type LogRecord, ServerLog } from "../server/peers/log.ts";

/** Where lines go: process.stderr, or a test's own. */
export interface LogStream {
  write(text: string): unknown;
}

export interface LogOptions {
  readonly stream: LogStream;
  /** The least level that is shown. All levels are kept for `get_logs`. */
  readonly level: LogLevel;
  /** Dask's name of the part that speaks: `distributed.scheduler`. */
  readonly logger: string;
  /** How many lines are kept; absent: Dask's default. */
  readonly records_max?: number;
}

/** The log of a command: lines in distributed's format, one a record. */
export function createLog(options: LogOptions): ServerLog {
  const least = LOG_LEVELS.indexOf(options.level);
  const sink = (record: LogRecord): void => {
    if (LOG_LEVELS.indexOf(record.level) >= least) options.stream.write(`${formatRecord(record)}\n`);
  };
  return new ServerLog(options.logger, sink, Date.now, options.records_max);
}

/**
 * Whoever started us may have closed the other end of stderr. A server lives on without its log rather than die of
 * it, so write errors are dropped.
 */
export function tolerateClosedStream(stream: NodeJS.WriteStream): void {
  stream.on("error", () => undefined);
}
