/** etcd with mutual TLS: its clients, its members among each other, and who is kept out. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { openEtcd } from "../../src/adapters/etcd/etcd-coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { startEtcdMembers } from "../../src/adapters/system/etcd-members.ts";
import type { CertificateFolder } from "../../src/adapters/tls/certificate-folder.ts";
import { writeCertificates } from "../../src/adapters/tls/authority.ts";
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
