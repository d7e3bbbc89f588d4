/** `lockstep certs issue`: the certificate of a process, or those of several of one kind. */
import { existsSync } from "node:fs";
import { isIP } from "node:net";
import { join, relative, resolve } from "node:path";
import type { Subject } from "../../adapters/tls/authority.ts";
import { fileNames } from "../../adapters/tls/certificates.ts";
import { LockstepError } from "../../core/errors.ts";
import { identityUri, namePattern, roles } from "../../core/identity.ts";
import type { Arguments, Command } from "../command.ts";

const defaultDays = 365;

export const certsIssue: Command = {
  name: "certs issue",
  summary: "Make the certificate of a worker, a coordinator, a member of etcd, or an operator.",
  argument: { name: "ROLE NAME,…", help: `${roles.join(", ")} or etcd, and its name, or names of several`, most: 2 },
  options: {
    authority: { value: "DIR", help: "the folder of the authority that signs" },
    out: {
      value: "DIR",
      help: `where ${Object.values(fileNames).join(", ")} go; {name} stands for the name, and has to where there are several`,
    },
    job: { value: "JOB", help: "the job of a worker or a coordinator" },
    hosts: { value: "HOST,…", help: "of etcd: the names and IP addresses at which it is reached" },
    days: { value: "N", help: `for how many days (default: ${defaultDays})` },
  },
  details: `lockstep certs issue worker worker-0 --job digits --authority authority --out certs/worker-0
lockstep certs issue worker worker-1,worker-2 --job digits --authority authority --out certs/{name}
lockstep certs issue coordinator main --job digits --authority authority --out certs/coordinator
lockstep certs issue etcd etcd-0 --hosts etcd-0.example.org,10.0.0.7 --authority authority --out certs/etcd-0
lockstep certs issue operator anna --authority authority --out certs/anna`,
  run: runIssue,
};

async function runIssue(args: Arguments): Promise<number> {
  const [word = "", names = ""] = args.words;
  const all = names.split(",").map((name) => ({ subject: subjectOf(args, word, name), out: outOf(args, name) }));
  if (new Set(all.map(({ out }) => out)).size < all.length) {
    throw new LockstepError("usage", `Several certificates would go into ${all[0]!.out}.`, {
      hint: "Name each of them once, and write {name} in --out, as --out certs/{name}.",
    });
  }
  for (const { out } of all) {
    if (!existsSync(join(out, fileNames.key))) continue;
    throw new LockstepError("usage", `There is a certificate in ${out} already.`, {
      hint: "`lockstep certs rotate` makes it anew; or name another folder by --out.",
    });
  }
  const { Authority, namesOf, writeCertificates } = await import("../../adapters/tls/authority.ts");
  const authority = await Authority.open(resolve(needed(args, "authority")));
  for (const { subject, out } of all) {
    await writeCertificates(out, await authority.issue(namesOf(subject), args.whole("days", 1) ?? defaultDays));
    const whose = subject.kind === "etcd" ? `etcd at ${subject.hosts.join(", ")}` : identityUri(subject.identity);
    process.stdout.write(`The certificate of ${whose} is in ${relative(process.cwd(), out) || "."}.\n`);
  }
  return 0;
}

function outOf(args: Arguments, name: string): string {
  return resolve(needed(args, "out").replaceAll("{name}", name));
}

function subjectOf(args: Arguments, word: string, name: string): Subject {
  const known = [...roles, "etcd"];
  if (!known.includes(word) || name === "") {
    throw new LockstepError("usage", `${JSON.stringify(args.words.join(" "))} is no ROLE NAME.`, {
      hint: `The role is one of ${known.join(", ")}; the name follows it.`,
    });
  }
  checkName("The name", name);
  const job = args.text("job");
  const hosts = args.text("hosts");
  if (word === "etcd") {
    refuse(args, "job", "a member of etcd serves every job");
    const list = (hosts ?? "").split(",").filter((host) => host !== "");
    for (const host of list) checkHost(host);
    if (list.length === 0) {
      throw new LockstepError("usage", "--hosts is missing: etcd is known by where it is reached.", {
        hint: "Give the names and IP addresses of its URLs, as --hosts etcd-0.example.org,10.0.0.7.",
      });
    }
    return { kind: "etcd", name, hosts: list };
  }
  refuse(args, "hosts", `a ${word} is known by its name, wherever it is reached`);
  const role = roles.find((one) => one === word)!; // it is known, and not etcd
  if (role === "operator") {
    refuse(args, "job", "an operator is of every job");
    return { kind: "process", identity: { role, job: null, name } };
  }
  if (job === undefined) {
    throw new LockstepError("usage", `--job is missing: a ${role} is of one job.`, {
      hint: "It is the name in the job file, or what --job says when the process is started.",
    });
  }
  checkName("--job", job);
  return { kind: "process", identity: { role, job, name } };
}

function checkName(what: string, text: string): void {
  if (namePattern.test(text)) return;
  throw new LockstepError(
    "usage",
    `${what} is ${JSON.stringify(text)}; up to 63 letters, digits, "-", "_" and "." were expected.`,
  );
}

/** As whoever connects compares it: with the host of the URL alone. */
function checkHost(host: string): void {
  if (isIP(host) !== 0 || /^(\*\.)?[a-z0-9_]([a-z0-9._-]*[a-z0-9])?$/i.test(host)) return;
  throw new LockstepError(
    "usage",
    `--hosts has ${JSON.stringify(host)}; names and IP addresses were expected, without a port, as etcd-0.example.org,10.0.0.7.`,
  );
}

function refuse(args: Arguments, option: string, why: string): void {
  if (args.text(option) === undefined) return;
  throw new LockstepError("usage", `--${option} has no meaning here: ${why}.`, { hint: "Leave it out." });
}

export function needed(args: Arguments, option: string): string {
  const text = args.text(option);
  if (text !== undefined) return text;
  throw new LockstepError("usage", `--${option} is missing.`, { hint: "See `lockstep certs issue --help`." });
}
