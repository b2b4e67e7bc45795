// Makes test/comm/certificates anew, with openssl: an authority, a certificate of its for all peers, and a stranger's
// by another authority. They protect nothing, and are committed so that the tests need no openssl. Valid for a century.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("../test/comm/certificates/", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "certificates-"));
const DAYS = "36500";

function openssl(...args) {
  const { status, stderr, error } = spawnSync("openssl", args, { cwd: scratch, encoding: "utf8" });
  if (error || status !== 0) throw new Error(`openssl ${args.join(" ")}: ${error?.message ?? stderr}`);
}

const key = (name) => [
  "-newkey",
  "ec",
  "-pkeyopt",
  "ec_paramgen_curve:prime256v1",
  "-nodes",
  "-keyout",
  name,
];

function authority(name, keyFile, certificate) {
  openssl("req", "-x509", ...key(keyFile), "-subj", `/CN=${name}`, "-days", DAYS, "-out", certificate);
}

function certificate(name, by, byKey) {
  openssl("req", ...key(join(folder, `${name}.key`)), "-subj", `/CN=${name}`, "-out", `${name}.csr`);
  const signed = ["-CA", by, "-CAkey", byKey, "-CAserial", "serial", "-CAcreateserial", "-days", DAYS];
  openssl("x509", "-req", "-in", `${name}.csr`, ...signed, "-out", join(folder, `${name}.pem`));
}

try {
  authority("rsds tests", "ca.key", join(folder, "ca.pem"));
  certificate("peer", join(folder, "ca.pem"), "ca.key");
  authority("somebody else", "other.key", "other.pem");
  certificate("stranger", "other.pem", "other.key");
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
