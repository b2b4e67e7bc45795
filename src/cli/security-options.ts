import type { SecureContextOptions } from "node:tls";
import type { SchedulerSettings } from "../config/settings.ts";
import { readPem } from "./scheduler-settings.ts";

/** How peers are spoken to. */
export interface SecurityOptions {
  /** What TLS needs; null: authority or certificate are not named. */
  readonly tls: SecureContextOptions | null;
  readonly require_encryption: boolean;
}

/** What the command line says of certificates. */
interface TlsArguments {
  readonly tlsCaFile?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
}

/** As Dask's `Security`: files of the command line, else of the configuration. Throws UsageError. */
export function securityOf(parsed: TlsArguments, settings: SchedulerSettings): SecurityOptions {
  const { tlsCaFile, tlsCert, tlsKey } = parsed;
  const { tls: configured, require_encryption } = settings;
  const files = {
    ca_file: tlsCaFile ?? configured.ca_file,
    cert: tlsCert ?? configured.cert,
    key: tlsKey ?? configured.key,
  };
  const given = [tlsCaFile, tlsCert, tlsKey].some((file) => file !== undefined);
  const pem = files.ca_file === null ? null : readPem(files, "TLS");
  const { ciphers, min_version, max_version } = configured;
  return {
    tls:
      pem === null
        ? null
        : {
            ...pem,
            minVersion: min_version ?? "TLSv1.2",
            ...(max_version === null ? {} : { maxVersion: max_version }),
            ...(ciphers === null ? {} : { ciphers }),
          },
    require_encryption: require_encryption ?? given,
  };
}
