/** The certificates of a cluster on this machine: each process that is started gets a folder of its own. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createLog } from "../adapters/system/log.ts";
import type { RegisteredRun } from "../adapters/system/run-registry.ts";
import { CertificateFolder } from "../adapters/tls/certificate-folder.ts";
import { fileNames } from "../adapters/tls/certificates.ts";
import type { Role } from "../core/identity.ts";

/** Of the authority that is made for a job's folder, and of the certificates that every launch makes anew. */
const authorityDays = 3650;
const days = 365;

export interface LocalCertificates {
  /** Of whoever looks after the cluster: the launch itself, and `status`. */
  readonly operator: CertificateFolder;
  /** The folder of etcd's; all members are on loopback, and share it. */
  readonly etcd: string;
  /** Makes a process' certificates; returns their folder. */
  folderFor(role: Role, name: string): Promise<string>;
}

/** Where a job's folder keeps them. */
export function certificatesBelow(directory: string): {
  readonly folder: string;
  readonly operator: string;
  readonly etcd: string;
} {
  const folder = join(directory, "tls");
  return { folder, operator: join(folder, "operator"), etcd: join(folder, "etcd") };
}

/** @param authorityFolder an authority that is there; null: one of the job's own, made when there is none yet */
export async function localCertificates(
  directory: string,
  job: string,
  authorityFolder: string | null,
): Promise<LocalCertificates> {
  // What makes certificates takes longer to load than most commands take to run.
  const { Authority, namesOf, writeCertificates } = await import("../adapters/tls/authority.ts");
  const places = certificatesBelow(directory);
  const isMade = authorityFolder !== null || existsSync(join(places.folder, fileNames.ca));
  const authority = isMade
    ? await Authority.open(authorityFolder ?? places.folder)
    : await Authority.init(places.folder, authorityDays);
  const folderFor = async (role: Role, name: string) => {
    const folder = join(places.folder, name);
    const identity = { role, job: role === "operator" ? null : job, name };
    await writeCertificates(folder, await authority.issue(namesOf({ kind: "process", identity }), days));
    return folder;
  };
  const etcdNames = namesOf({ kind: "etcd", name: "etcd", hosts: ["localhost", "127.0.0.1", "::1"] });
  await writeCertificates(places.etcd, await authority.issue(etcdNames, days));
  const operator = await openQuietly(await folderFor("operator", "operator"));
  return { operator, etcd: places.etcd, folderFor };
}

/** With which the processes of a launch on this machine are asked. */
export async function certificatesOf({ tls }: RegisteredRun): Promise<CertificateFolder | null> {
  return tls ? openQuietly(tls) : null;
}

export function openQuietly(folder: string): Promise<CertificateFolder> {
  return CertificateFolder.open(folder, createLog({ stream: process.stderr, format: "text", level: "warn" }));
}
