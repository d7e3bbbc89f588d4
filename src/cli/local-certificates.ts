/** The certificates of a cluster on this machine: each process that is started gets a folder of its own. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createLog } from "../adapters/system/log.ts";
import type { RegisteredRun } from "../adapters/system/run-registry.ts";
import { CertificateFolder } from "../adapters/tls/certificate-folder.ts";
import type { Subject } from "../adapters/tls/authority.ts";
import { fileNames } from "../adapters/tls/certificates.ts";
import { messageOf } from "../core/errors.ts";
import type { Role } from "../core/identity.ts";

/** Of the authority that is made for a job's folder, and of the certificates that every launch makes anew. */
const authorityDays = 3650;
const days = 365;
const dayMs = 24 * 3600 * 1000;

export interface LocalCertificates {
  /** Of whoever looks after the cluster: the launch itself, and `status`. */
  readonly operator: CertificateFolder;
  /** The folder of etcd's; all members are on loopback, and share it. */
  readonly etcd: string;
  /** Makes a process' certificates; returns their folder. */
  folderFor(role: Role, name: string): Promise<string>;
  /**
   * Makes anew, with new keys, those that are past half of their time; whoever uses their folders takes the new ones as it runs.
   * Returns the folders. "usage" when the authority is over before they would be.
   */
  renew(nowMs: number): Promise<readonly string[]>;
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
  const renewals = new Map<string, { readonly subject: Subject; readonly dueMs: number }>();
  const make = async (folder: string, subject: Subject, nowMs: number) => {
    await writeCertificates(folder, await authority.issue(namesOf(subject), days));
    renewals.set(folder, { subject, dueMs: nowMs + (days / 2) * dayMs });
    return folder;
  };
  const folderFor = (role: Role, name: string) => {
    const identity = { role, job: role === "operator" ? null : job, name };
    return make(join(places.folder, name), { kind: "process", identity }, Date.now());
  };
  await make(places.etcd, { kind: "etcd", name: "etcd", hosts: ["localhost", "127.0.0.1", "::1"] }, Date.now());
  const operator = await openQuietly(await folderFor("operator", "operator"));
  const renew = async (nowMs: number) => {
    const due = [...renewals].filter(([, { dueMs }]) => dueMs <= nowMs);
    for (const [folder, { subject }] of due) await make(folder, subject, nowMs);
    return due.map(([folder]) => folder);
  };
  return { operator, etcd: places.etcd, folderFor, renew };
}

/** A launch may go on for longer than its certificates are valid: looks every day. Returns what ends that. */
export function keepValid(certificates: LocalCertificates, say: (line: string) => void): () => Promise<void> {
  const timer = setInterval(() => {
    certificates
      .renew(Date.now())
      .catch((error: unknown) => say(`Certificates could not be made anew: ${messageOf(error)}`));
  }, dayMs);
  timer.unref();
  return async () => clearInterval(timer);
}

/** With which the processes of a launch on this machine are asked. */
export async function certificatesOf({ tls }: RegisteredRun): Promise<CertificateFolder | null> {
  return tls ? openQuietly(tls) : null;
}

export function openQuietly(folder: string): Promise<CertificateFolder> {
  return CertificateFolder.open(folder, createLog({ stream: process.stderr, format: "text", level: "warn" }));
}
