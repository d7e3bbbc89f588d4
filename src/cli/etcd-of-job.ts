/** A job's records in etcd, for commands that look at runs which may be over. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { startEtcdMembers } from "../adapters/system/etcd-members.ts";
import { prepareEtcd } from "../adapters/system/etcd-program.ts";
import { createLog } from "../adapters/system/log.ts";
import { type RegisteredRun, runningJobs } from "../adapters/system/run-registry.ts";
import type { CertificateFolder } from "../adapters/tls/certificate-folder.ts";
import { LockstepError } from "../core/errors.ts";
import { failureBudget } from "../core/failure-budget.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Arguments } from "./command.ts";
import { parseEndpoints } from "./common.ts";
import { connectEtcd } from "./connect-etcd.ts";
import { certificatesBelow, certificatesOf, openQuietly } from "./local-certificates.ts";
import { checkEndpoints, openSecurity, securityOptions } from "./security.ts";

/** The options that say where it is. */
export const etcdOfJob = {
  directory: { value: "DIR", help: "where the job's files are (default: runs/JOB)" },
  etcd: { value: "URL,…", help: "the etcd of the run (default: that of the job's folder)" },
  ...securityOptions,
};

/**
 * Reads from the etcd that --etcd names, from that of the running launch, or from one that is started meanwhile on the
 * job's folder (--directory, or runs/JOB).
 */
export async function withEtcdOf<T>(
  args: Arguments,
  job: string,
  read: (coordination: Coordination) => Promise<T>,
): Promise<T> {
  const given = args.text("etcd");
  if (given !== undefined) {
    const security = await openSecurity(args, quietLog());
    const endpoints = parseEndpoints(given);
    checkEndpoints(endpoints, security);
    return readFrom(endpoints, security.certificates, read);
  }
  const running = (await runningJobs()).find((run) => run.job === job);
  if (running) return withEtcdOfRun(running, read);
  return withEtcdIn(resolve(args.text("directory") ?? join("runs", job)), job, read);
}

/** Reads from the etcd of a launch that runs. */
export async function withEtcdOfRun<T>(
  run: RegisteredRun,
  read: (coordination: Coordination) => Promise<T>,
): Promise<T> {
  return readFrom(run.etcd, await certificatesOf(run), read);
}

/** Reads from one that is started meanwhile on a job's folder. "usage": it has none. */
export async function withEtcdIn<T>(
  directory: string,
  job: string,
  read: (coordination: Coordination) => Promise<T>,
): Promise<T> {
  const dataDirectory = join(directory, "etcd");
  if (!existsSync(dataDirectory)) {
    throw new LockstepError("usage", `There is no run of "${job}" in ${dataDirectory}.`, {
      hint: "Name the job's folder with --directory, or its etcd with --etcd.",
    });
  }
  const { path: program } = await prepareEtcd((line) => process.stderr.write(`${line}\n`));
  const places = certificatesBelow(directory);
  const certificates = existsSync(places.operator) ? await openQuietly(places.operator) : null;
  const tls = certificates && places.etcd;
  const options = { program, dataDirectory, tls, count: null, log: quietLog(), onExit: () => {} };
  const etcd = await startEtcdMembers(options);
  try {
    return await readFrom(etcd.endpoints, certificates, read);
  } finally {
    await etcd.stop();
  }
}

async function readFrom<T>(
  endpoints: readonly string[],
  certificates: CertificateFolder | null,
  read: (coordination: Coordination) => Promise<T>,
): Promise<T> {
  const coordination = connectEtcd(endpoints, failureBudget(), quietLog(), certificates);
  try {
    return await read(coordination);
  } finally {
    await coordination.close();
    certificates?.close();
  }
}

function quietLog() {
  return createLog({ stream: process.stderr, format: "text", level: "error" });
}
