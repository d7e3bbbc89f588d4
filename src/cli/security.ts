/** Who a process is to others, and what it may do in plain text: the options --tls and --insecure. */
import { resolve } from "node:path";
import { CertificateFolder } from "../adapters/tls/certificate-folder.ts";
import { fileNames } from "../adapters/tls/certificates.ts";
import type { Security } from "../adapters/tls/security.ts";
import { hostAndPort, isLoopback } from "../core/addresses.ts";
import { LockstepError } from "../core/errors.ts";
import { described, type Role } from "../core/identity.ts";
import { type CountedRefusal, Refusals } from "../core/refusals.ts";
import type { Log } from "../ports/log.ts";
import type { Arguments, Option } from "./command.ts";
import { checkedAddress } from "./common.ts";

const folderWords = `${fileNames.ca}, ${fileNames.certificate} and ${fileNames.key}`;

export const securityOptions = {
  tls: { value: "DIR", help: `a folder with this process' ${folderWords} (default: $LOCKSTEP_TLS, or plain text)` },
  insecure: {
    value: null,
    help: "plain text also beyond this machine: who is on that network reads and changes everything",
  },
} satisfies Record<string, Option>;

export interface ProcessSecurity extends Security {
  /** Null: in plain text. */
  readonly folder: string | null;
  readonly isInsecure: boolean;
  close(): void;
}

/** What --tls names, or LOCKSTEP_TLS; watched, so that it may be replaced. */
export async function openSecurity(args: Arguments, log: Log): Promise<ProcessSecurity> {
  const given = args.text("tls") ?? process.env.LOCKSTEP_TLS;
  const folder = given ? resolve(given) : null;
  const isInsecure = args.flag("insecure");
  if (isInsecure && folder !== null) {
    throw new LockstepError("usage", `--insecure is given, and certificates in ${folder} too.`, {
      hint: `Leave --insecure out${args.text("tls") === undefined ? ", or unset LOCKSTEP_TLS" : ""}: one of the two is meant.`,
    });
  }
  if (isInsecure) {
    log.warn("INSECURE: everything travels in plain text, and whoever reaches this process is believed", {
      hint: "give each process certificates by --tls instead, see docs/security.md",
    });
  }
  const refusals = new Refusals(refusalLog(log));
  const certificates = folder === null ? null : await CertificateFolder.open(folder, log);
  return { certificates, refusals, folder, isInsecure, close: () => certificates?.close() };
}

export function refusalLog(log: Log): (refusal: CountedRefusal) => void {
  return ({ kind, from, detail, count }) => {
    const reason = `${kind}, from ${from} (${detail})`;
    log.warn(count === 1 ? "refused" : `refused ${count} times by now`, { reason, kind, count });
  };
}

/** That the certificate is this process' own; `name` is what it goes by. */
export function checkOwner({ certificates, folder }: ProcessSecurity, role: Role, job: string, name?: string): void {
  if (certificates === null) return;
  const { identity } = certificates.current;
  const isOwn = identity.role === role && identity.job === job && (name === undefined || identity.name === name);
  if (isOwn) return;
  const whose = `the ${described(identity)}${identity.job === null ? "" : ` of the job "${identity.job}"`}`;
  throw new LockstepError(
    "bad-certificate",
    `The certificate in ${folder} is that of ${whose}; this is the ${role}${name === undefined ? "" : ` "${name}"`} of the job "${job}".`,
    { hint: `Give each process its own: \`lockstep certs issue ${role} NAME --job ${job}\`.` },
  );
}

/** That nobody beyond this machine is served in plain text, unless that is wanted. */
export function checkListen(option: string, address: string, { certificates, isInsecure }: ProcessSecurity): void {
  if (certificates !== null || isInsecure || isLoopback(hostAndPort(address).host)) return;
  throw new LockstepError(
    "usage",
    `--${option} is ${address}, where other machines reach this process, and it has no certificate to tell friends from strangers.`,
    {
      hint: "Give it one by --tls DIR (docs/security.md), listen on 127.0.0.1, or say --insecure if everybody on that network may read and change what is trained.",
    },
  );
}

/** That etcd's endpoints, as URLs, are called as the process can. */
export function checkEndpoints(
  endpoints: readonly string[],
  { certificates, isInsecure }: Pick<ProcessSecurity, "certificates" | "isInsecure">,
): void {
  for (const endpoint of endpoints) {
    const { protocol, hostname } = new URL(endpoint);
    const host = hostname.replace(/^\[(.*)\]$/, "$1");
    if (protocol === "https:" && certificates === null) {
      throw new LockstepError("usage", `--etcd names ${endpoint}, and this process has no certificate to show there.`, {
        hint: "Give it one by --tls DIR, or LOCKSTEP_TLS; see docs/security.md.",
      });
    }
    if (protocol === "http:" && certificates !== null) {
      throw new LockstepError(
        "usage",
        `--etcd names ${endpoint}, which is plain text, and this process has certificates.`,
        {
          hint: "Name it as https://…; etcd gets a certificate of the same authority: `lockstep certs issue etcd NAME`.",
        },
      );
    }
    if (protocol === "http:" && !isInsecure && !isLoopback(host)) {
      throw new LockstepError("usage", `--etcd names ${endpoint}: plain text, beyond this machine.`, {
        hint: "Use https:// and --tls DIR (docs/security.md), or say --insecure if everybody on that network may read and change what is trained.",
      });
    }
  }
}

/** That a coordinator is called in plain text on this machine only, unless more is wanted. */
export function checkCoordinator(given: string, { certificates, isInsecure }: ProcessSecurity): void {
  const address = checkedAddress("coordinator", given, "127.0.0.1:7070");
  if (certificates !== null || isInsecure || isLoopback(hostAndPort(address).host)) return;
  throw new LockstepError("usage", `--coordinator is ${address}: plain text, beyond this machine.`, {
    hint: "Give this process a certificate by --tls DIR (`lockstep certs issue operator NAME`), or say --insecure.",
  });
}
