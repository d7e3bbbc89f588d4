/** What `etcd-backup --target ssh` saves: etcd's own snapshot, asked for without a tool of etcd's. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openEtcd } from "../../src/adapters/etcd/etcd-coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { startEtcd } from "../../src/adapters/system/etcd-process.ts";
import { TestCertificates, useCertificates } from "../fixtures/certificates.ts";
import { etcdProgram, quietLog, testLeaseMarginMs } from "../fixtures/etcd.ts";
import { testFolder } from "../fixtures/running-launch.ts";

const own = useCertificates();
const script = fileURLToPath(new URL("../../deploy/local/etcd-snapshot.mjs", import.meta.url));

function save(endpoint: string, certificates: string, file: string): Promise<{ code: number; said: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [script, endpoint, certificates, file], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), said: stdout + stderr });
    });
  });
}

test("a snapshot holds what was committed, is what etcd has hashed, and is given to no stranger", {
  timeout: 60_000,
}, async (context) => {
  const folder = await testFolder(context);
  const program = await etcdProgram();
  const options = { program, dataDirectory: join(folder, "data"), log: quietLog, guardGraceMs: 0 };
  const etcd = await startEtcd({ ...options, tls: await own().etcdFolder(), onExit: () => {} });
  context.after(() => etcd.stop());
  const operator = await own().folderOf("operator", "anna");
  const client = openEtcd({
    ...{ endpoints: [etcd.endpoint], certificates: await own().open("worker", "a"), clock: systemClock, log: quietLog },
    ...{ requestTimeoutMs: 10_000, leaseMarginMs: testLeaseMarginMs },
  });
  context.after(() => client.close());
  await client.transact([], [{ kind: "put", key: "/lockstep/digits/run", value: "a value of this test" }]);

  // By a name: TLS has none for an address, and Node says so.
  const endpoint = etcd.endpoint.replace("127.0.0.1", "localhost");
  const saved = await save(endpoint, operator, join(folder, "backup"));
  assert.equal(saved.code, 0, saved.said);
  const bytes = await readFile(join(folder, "backup"));
  assert.ok(bytes.includes("a value of this test"));
  assert.equal(bytes.readUInt32LE(16), 0xed0cdaed, "the magic number of a bbolt database, in its first page");
  const hash = createHash("sha256").update(bytes.subarray(0, -32)).digest();
  assert.deepEqual(hash, bytes.subarray(-32), "as etcd's own tools expect it at the end");

  const others = await TestCertificates.make();
  context.after(() => others.remove());
  const stranger = await save(endpoint, await others.folderOf("operator", "anna"), join(folder, "stolen"));
  assert.equal(stranger.code, 6, stranger.said);
  assert.match(stranger.said, /^etcd at https:\/\/\S+ gave no snapshot: /);
  assert.deepEqual((await readdir(folder)).sort(), ["backup", "data"], "and nothing is left of what did not come");
});
