import { existsSync, readFileSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { ConfigError, collectConfig } from "../config/collect.ts";
import { type SchedulerSettings, settingsOf, type TlsFiles } from "../config/settings.ts";
import { UsageError } from "./errors.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** The settings of Dask's configuration, as the scheduler's Python would find them. Throws UsageError. */
export function loadSettings(env: Environment, python: string | null): SchedulerSettings {
  try {
    return settingsOf(collectConfig({ env, python_prefix: pythonPrefix(env, python) }));
  } catch (error) {
    if (error instanceof ConfigError) throw new UsageError(error.message);
    throw error;
  }
}

/** Python's `sys.prefix`, by where its program stands: PREFIX/bin/python. Null: there is no Python to be found. */
function pythonPrefix(env: Environment, python: string | null): string | null {
  const { VIRTUAL_ENV, PATH = "" } = env;
  if (python === null && VIRTUAL_ENV !== undefined) return VIRTUAL_ENV;
  const name = python ?? "python3";
  if (name.includes("/")) return dirname(dirname(resolve(name)));
  const folder = PATH.split(delimiter).find((entry) => entry !== "" && existsSync(join(entry, name)));
  return folder === undefined ? null : dirname(folder);
}

/**
 * Certificates and key from their files, tried out. Null: no certificate is named. `what` names them in errors.
 * Throws UsageError.
 */
export function readPem(files: TlsFiles, what: string): SecureContextOptions | null {
  if (files.cert === null) return null;
  const cert = readFile(files.cert, what);
  const context: SecureContextOptions = {
    cert,
    // As in Dask, the key may stand in the certificate's file.
    key: files.key === null ? cert : readFile(files.key, what),
    ...(files.ca_file === null ? {} : { ca: readFile(files.ca_file, what) }),
  };
  try {
    createSecureContext(context);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new UsageError(`${what}: ${files.cert} and its key cannot be used: ${why}`);
  }
  return context;
}

/** A PEM file; or the PEM text itself, which a configuration may hold. */
function readFile(path: string, what: string): string {
  if (path.includes("\n")) return path;
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new UsageError(
      `${what}: cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}
