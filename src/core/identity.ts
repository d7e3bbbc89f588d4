/**
 * Who a process is, as its certificate says: a URI among the certificate's subject alternative names, of the form of SPIFFE
 * (docs/decisions/0006-identity-is-a-uri.md).
 *
 *     spiffe://lockstep/job/JOB/worker/NAME
 *     spiffe://lockstep/job/JOB/coordinator/NAME
 *     spiffe://lockstep/operator/NAME            of every job
 */
export const roles = ["worker", "coordinator", "operator"] as const;
export type Role = (typeof roles)[number];

export interface Identity {
  readonly role: Role;
  /** Null for an operator, who belongs to every job. */
  readonly job: string | null;
  readonly name: string;
}

/** Who may be at the other end of a connection. */
export interface PeerRule {
  readonly roles: readonly Role[];
  /** Left out, whatever its name. */
  readonly name?: string;
}

const trustDomain = "spiffe://lockstep/";
/** What a name, of a process or of a job, is made of: it is also a part of keys, paths and etcd's user names. */
export const namePattern = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;

export function identityUri({ role, job, name }: Identity): string {
  return `${trustDomain}${job === null ? "" : `job/${job}/`}${role}/${name}`;
}

/** Null for a URI that names nobody of lockstep's. */
export function identityOf(uri: string): Identity | null {
  if (!uri.startsWith(trustDomain)) return null;
  const words = uri.slice(trustDomain.length).split("/");
  const [job, rest] = words[0] === "job" ? [words[1] ?? "", words.slice(2)] : [null, words];
  const [word, name] = rest;
  const role = roles.find((one) => one === word);
  if (rest.length !== 2 || role === undefined || (role === "operator") !== (job === null)) return null;
  if (!namePattern.test(name!) || (job !== null && !namePattern.test(job))) return null;
  return { role, job, name: name! };
}

/** What "URI:" says in a certificate's names as Node writes them: `DNS:a, URI:spiffe://…`; what needs it is quoted as JSON. */
export function identityIn(subjectAltName: string | undefined): Identity | null {
  const entries = (subjectAltName ?? "").match(/[^,"]*(?:"(?:\\.|[^"\\])*")?(?:, |$)/g) ?? [];
  const found = entries
    .map((entry) => entry.replace(/, $/, ""))
    .flatMap((entry) => (entry.startsWith("URI:") ? [identityOf(entry.slice("URI:".length))] : []))
    .filter((identity) => identity !== null);
  // Somebody who is two is nobody: which of them would be meant?
  return found.length === 1 ? found[0]! : null;
}

/** Why somebody is not who was expected, as the end of a sentence; null if it is. */
export function whyNot(peer: Identity | null, own: Identity, rule: PeerRule): string | null {
  const expected = rule.name === undefined ? rule.roles.join(" or ") : `${rule.roles.join(" or ")} "${rule.name}"`;
  if (peer === null) return `its certificate names nobody, and the ${expected} was expected`;
  if (own.job !== null && peer.job !== null && own.job !== peer.job) {
    return `it is of the job "${peer.job}", and this is "${own.job}"`;
  }
  const fits = rule.roles.includes(peer.role) && (rule.name === undefined || rule.name === peer.name);
  return fits ? null : `it is the ${described(peer)}, and the ${expected} was expected`;
}

export function described({ role, name }: Identity): string {
  return `${role} "${name}"`;
}

/** A worker's name, of its id: the name and an incarnation. */
export function workerNameOf(workerId: string): string {
  const dot = workerId.lastIndexOf(".");
  return dot < 0 ? workerId : workerId.slice(0, dot);
}
