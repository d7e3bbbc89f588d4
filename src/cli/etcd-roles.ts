/** `lockstep etcd-roles`: etcd's users, so that one job cannot touch another's keys. */
import { EtcdConnections } from "../adapters/etcd/connections.ts";
import { separateJobs } from "../adapters/etcd/users.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { createLog } from "../adapters/system/log.ts";
import { parse } from "../adapters/tls/certificates.ts";
import { LockstepError } from "../core/errors.ts";
import { failureBudget } from "../core/failure-budget.ts";
import { namePattern } from "../core/identity.ts";
import type { Arguments, Command } from "./command.ts";
import { endpointsOf, shared } from "./common.ts";
import { checkEndpoints, openSecurity, securityOptions } from "./security.ts";

export const etcdRoles: Command = {
  name: "etcd-roles",
  summary: "Make etcd keep jobs apart: each may touch its own keys only.",
  argument: { name: "JOB…", help: "names of jobs; those that were named before stay", most: 1000 },
  options: { etcd: shared.etcd, tls: securityOptions.tls },
  details:
    "Adds a user and a role for each job and for root, and switches etcd's users on; do it again for another job. Needs an operator's\ncertificate, and an etcd that asks for certificates (--client-cert-auth): see docs/security.md.",
  run: runEtcdRoles,
};

async function runEtcdRoles(args: Arguments): Promise<number> {
  const jobs = args.words;
  if (jobs.length === 0) {
    throw new LockstepError("usage", "No job was named.", { hint: "See `lockstep etcd-roles --help`." });
  }
  const wrong = jobs.find((job) => !namePattern.test(job) || job === "root");
  if (wrong !== undefined) {
    throw new LockstepError("usage", `${JSON.stringify(wrong)} is no name that a job can have here.`, {
      hint: 'Up to 63 letters, digits, "-", "_" and ".", and not root.',
    });
  }
  const endpoints = endpointsOf(args);
  const log = createLog({ stream: process.stderr, format: "text", level: "error" });
  const security = await openSecurity(args, log);
  const { certificates } = security;
  if (certificates === null) {
    throw new LockstepError("usage", "--tls is missing: etcd knows its users by their certificates.", {
      hint: "Name the folder of an operator's: `lockstep certs issue operator NAME` makes one.",
    });
  }
  try {
    checkEndpoints(endpoints, security);
    const [own] = parse(certificates.current.certificate, security.folder ?? "");
    if (!own!.subject.split("\n").includes("CN=root")) {
      // Once the users are on, nobody but root could switch them off.
      throw new LockstepError("bad-certificate", `The certificate's name is ${own!.subject}; CN=root was expected.`, {
        hint: "Use an operator's certificate: `lockstep certs issue operator NAME` makes one.",
      });
    }
    const { requestTimeoutMs } = failureBudget();
    const connections = new EtcdConnections({ endpoints, certificates, clock: systemClock, log, requestTimeoutMs });
    try {
      await separateJobs(connections, jobs);
    } finally {
      connections.close();
    }
  } finally {
    security.close();
  }
  process.stdout.write(
    `etcd keeps jobs apart: ${jobs.join(", ")} may touch ${jobs.length === 1 ? "its own keys" : "each its own keys"}, and root all.\n`,
  );
  return 0;
}
