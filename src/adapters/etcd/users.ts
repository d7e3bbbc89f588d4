/**
 * etcd's own users and roles. With `--client-cert-auth` etcd takes the common name of a client's certificate for its user, so
 * nobody has a password: `root`, whose name is in operators' certificates, may do everything, and the user of a job's name may read
 * and write what lies under that job's prefix, and nothing else.
 */
import { type Etcd3, EtcdRoleExistsError, EtcdUserExistsError } from "etcd3";
import { jobPrefix } from "../../core/keys.ts";
import type { CallDeadline, EtcdConnections } from "./connections.ts";
import { prefixRange } from "./requests.ts";

const superuser = "root";

function roleOf(job: string): string {
  return `lockstep-${job}`;
}

/** Makes what is missing of users and roles, and switches them on. Whoever calls has to be `root`, before and afterwards. */
export async function separateJobs(connections: EtcdConnections, jobs: readonly string[]): Promise<void> {
  const call = (what: string, run: (client: Etcd3, deadline: CallDeadline) => Promise<unknown>) =>
    connections.call({ what, changes: true, run });
  const addUser = (name: string, role: string) =>
    call(`add the user ${name}`, async ({ auth }, deadline) => {
      const request = { name, password: "", options: { no_password: true } };
      await auth.userAdd(request, deadline).catch(unless(EtcdUserExistsError));
      await auth.userGrantRole({ user: name, role }, deadline);
    });
  const addRole = (name: string) =>
    call(`add the role ${name}`, ({ auth }, deadline) =>
      auth.roleAdd({ name }, deadline).catch(unless(EtcdRoleExistsError)),
    );
  await addRole(superuser);
  await addUser(superuser, superuser);
  for (const job of jobs) {
    const role = roleOf(job);
    const { key, range_end } = prefixRange(jobPrefix(job));
    await addRole(role);
    await call(`let ${role} read and write its keys`, ({ auth }, deadline) =>
      auth.roleGrantPermission({ name: role, perm: { permType: "Readwrite", key, range_end } }, deadline),
    );
    await addUser(job, role);
  }
  await call("switch its users on", ({ auth }, deadline) => auth.authEnable(deadline));
}

/** Takes an error of this kind for what it says: it was so before. */
function unless(kind: abstract new (...words: never[]) => Error): (error: unknown) => void {
  return (error) => {
    if (!(error instanceof kind)) throw error;
  };
}
