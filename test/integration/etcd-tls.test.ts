/** etcd with mutual TLS: its clients, its members among each other, and who is kept out. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { openEtcd } from "../../src/adapters/etcd/etcd-coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { startEtcd } from "../../src/adapters/system/etcd-process.ts";
import { startEtcdMembers } from "../../src/adapters/system/etcd-members.ts";
import type { CertificateFolder } from "../../src/adapters/tls/certificate-folder.ts";
import { writeCertificates } from "../../src/adapters/tls/authority.ts";
import { parseCommand } from "../../src/cli/command.ts";
import { etcdRoles } from "../../src/cli/etcd-roles.ts";
import type { Role } from "../../src/core/identity.ts";
import type { Lease } from "../../src/ports/coordination.ts";
import { TestCertificates, useCertificates } from "../fixtures/certificates.ts";
import { etcdProgram, quietLog, testLeaseMarginMs } from "../fixtures/etcd.ts";

const own = useCertificates();

function clientOf(endpoints: readonly string[], certificates: CertificateFolder | null, requestTimeoutMs = 10_000) {
  const options = { endpoints, certificates, requestTimeoutMs, leaseMarginMs: testLeaseMarginMs };
  return openEtcd({ ...options, clock: systemClock, log: quietLog });
}

test("three members serve and trust each other by certificates; strangers are kept out, and a client's may be replaced", {
  timeout: 120_000,
}, async (context) => {
  const dataDirectory = join(own().folder, "data");
  const options = { program: await etcdProgram(), dataDirectory, log: quietLog, guardGraceMs: 0 };
  const onExit = (index: number) => assert.fail(`member ${index} ended`);
  const etcd = await startEtcdMembers({ ...options, tls: await own().etcdFolder(), count: 3, onExit });
  context.after(() => etcd.stop());
  assert.ok(
    etcd.endpoints.every((endpoint) => endpoint.startsWith("https://127.0.0.1:")),
    etcd.endpoints.join(" "),
  );
  assert.notEqual(await etcd.leader(), null);

  const certificates = await own().open("worker", "a");
  const client = clientOf(etcd.endpoints, certificates);
  context.after(() => client.close());
  const lease = await client.grantLease(5000);
  let hint: () => void = () => {};
  const hinted = new Promise<void>((resolve) => {
    hint = resolve;
  });
  const watch = client.watch("/lockstep/digits/", 600_000, () => hint());
  assert.ok((await client.transact([], [{ kind: "put", key: "/lockstep/digits/run", value: "1", lease }])).succeeded);
  await hinted;
  watch.close();

  const others = await TestCertificates.make();
  context.after(() => others.remove());
  const plain = etcd.endpoints.map((endpoint) => endpoint.replace("https:", "http:"));
  const strangers = [clientOf(plain, null, 1500), clientOf(etcd.endpoints, await others.open("worker", "a"), 1500)];
  for (const stranger of strangers) {
    await assert.rejects(stranger.get("/lockstep/digits/run"), { code: "coordination-unavailable" });
    await stranger.close();
  }
  assert.throws(() => clientOf(etcd.endpoints, null), { code: "usage" });

  // Each connection shows the certificate that is there when it is opened: one of a stranger does not get through any more.
  await writeCertificates(certificates.folder, await own().issue("worker", "a"));
  await certificates.look();
  const again = clientOf(etcd.endpoints, certificates);
  assert.equal((await again.get("/lockstep/digits/run"))?.value, "1");
  await again.close();

  await etcd.stop();
  await assert.rejects(startEtcdMembers({ ...options, tls: null, count: null, onExit }), {
    code: "usage",
    message: /know each other by https, and http was asked for/,
  });
});

test("etcd-roles keeps jobs apart: each reads and writes its own keys, nobody another's, and root all", {
  timeout: 120_000,
}, async (context) => {
  const etcd = await startEtcd({
    ...{ program: await etcdProgram(), dataDirectory: join(own().folder, "apart"), log: quietLog, guardGraceMs: 0 },
    ...{ tls: await own().etcdFolder(), onExit: () => {} },
  });
  context.after(() => etcd.stop());
  const operator = await own().folderOf("operator", "anna");
  const separate = (tls: string, ...jobs: string[]) =>
    etcdRoles.run(parseCommand(etcdRoles, [...jobs, "--etcd", etcd.endpoint, "--tls", tls]));
  const workerFolder = await own().folderOf("worker", "a", "digits");
  await assert.rejects(separate(workerFolder, "digits"), { code: "bad-certificate", message: /CN=root was expected/ });
  await assert.rejects(separate(operator, "a/b"), { code: "usage" });
  assert.equal(await separate(operator, "digits"), 0);
  assert.equal(await separate(operator, "digits", "letters"), 0, "again, when its users are on, and for one more");

  const as = async (role: Role, name: string, job?: string) => {
    const client = clientOf([etcd.endpoint], await own().open(role, name, job));
    context.after(() => client.close());
    return client;
  };
  const put = (key: string, lease?: Lease) => [{ kind: "put", key, value: "1", ...(lease && { lease }) }] as const;
  const digits = await as("worker", "a", "digits");
  const letters = await as("coordinator", "main", "letters");
  for (const [client, job] of [
    [digits, "digits"],
    [letters, "letters"],
  ] as const) {
    const lease = await client.grantLease(5000);
    const key = `/lockstep/${job}/run`;
    assert.ok((await client.transact([{ kind: "absent", key }], put(key, lease))).succeeded);
    assert.deepEqual(
      (await client.list(`/lockstep/${job}/`)).entries.map((entry) => entry.key),
      [key],
    );
    await client.revokeLease(lease.id);
    assert.equal(await client.get(key), null);
    assert.ok((await client.transact([], put(key))).succeeded);
  }
  const theirs = "/lockstep/letters/run";
  const denied = { code: "coordination-unavailable", hint: /credentials/ };
  await assert.rejects(digits.get(theirs), denied);
  await assert.rejects(digits.list("/lockstep/"), denied);
  await assert.rejects(digits.transact([], put(theirs)), denied);
  await assert.rejects(digits.transact([{ kind: "present", key: theirs }], put("/lockstep/digits/run")), denied);
  await assert.rejects(digits.transact([], [{ kind: "delete", key: theirs }]), denied);
  await assert.rejects(
    (await as("worker", "a", "words")).get("/lockstep/words/run"),
    denied,
    "a job that was not named",
  );
  const anna = await as("operator", "anna");
  assert.deepEqual(
    (await anna.list("/lockstep/")).entries.map((entry) => entry.key),
    ["/lockstep/digits/run", theirs],
  );
});
