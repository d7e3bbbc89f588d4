/** `lockstep certs`, and what a process without certificates, or with another's, is told. */
import assert from "node:assert/strict";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "../../src/adapters/tls/certificates.ts";
import { type Command, parseCommand } from "../../src/cli/command.ts";
import { certsInit } from "../../src/cli/certs/init.ts";
import { certsIssue } from "../../src/cli/certs/issue.ts";
import { certsRotate } from "../../src/cli/certs/rotate.ts";
import { localCertificates } from "../../src/cli/local-certificates.ts";
import { checkCoordinator, checkEndpoints, checkListen, checkOwner, openSecurity } from "../../src/cli/security.ts";
import { worker } from "../../src/cli/worker.ts";
import type { Log } from "../../src/ports/log.ts";
import { useCertificates } from "../fixtures/certificates.ts";

const own = useCertificates();
const run = (command: Command, ...words: string[]) => command.run(parseCommand(command, words));
const at = (...names: string[]) => join(own().folder, ...names);
const certificateIn = async (folder: string) => parse(await readFile(join(folder, "tls.crt"), "utf8"), folder)[0]!;

test("certs init, issue and rotate make an authority, certificates of every role, and the same ones anew", async () => {
  const authority = ["--authority", at("made")];
  assert.equal(await run(certsInit, at("made"), "--days", "100"), 0);
  await assert.rejects(run(certsInit, at("made")), { code: "usage" });
  assert.equal((await stat(at("made", "ca.key"))).mode & 0o777, 0o600);
  const issue = (...words: string[]) => run(certsIssue, ...words, ...authority);
  await issue("worker", "w", "--job", "digits", "--out", at("w"), "--days", "20");
  await issue("coordinator", "c", "--job", "digits", "--out", at("c"), "--days", "20");
  await issue("operator", "anna", "--out", at("anna"), "--days", "40");
  await issue("etcd", "e", "--hosts", "etcd-0.example.org,10.0.0.7", "--out", at("e"), "--days", "20");
  const names = await Promise.all(
    ["w", "c", "anna", "e"].map(async (name) => {
      const { subject, subjectAltName, keyUsage } = await certificateIn(at(name));
      return [subject, subjectAltName, keyUsage?.length];
    }),
  );
  assert.deepEqual(names, [
    ["CN=digits", "URI:spiffe://lockstep/job/digits/worker/w", 2],
    ["CN=digits", "URI:spiffe://lockstep/job/digits/coordinator/c", 2],
    ["CN=root", "URI:spiffe://lockstep/operator/anna", 1],
    ["CN=e", "DNS:etcd-0.example.org, IP Address:10.0.0.7", 2],
  ]);
  const before = await Promise.all(["w", "anna"].map((name) => certificateIn(at(name))));
  await run(certsRotate, at("w"), at("anna"), "--before", "30", ...authority);
  const after = await Promise.all(["w", "anna"].map((name) => certificateIn(at(name))));
  assert.notEqual(after[0]!.serialNumber, before[0]!.serialNumber);
  assert.equal(after[0]!.subjectAltName, before[0]!.subjectAltName);
  assert.equal(after[1]!.serialNumber, before[1]!.serialNumber, "it ends later than that");
  for (const [words, expected] of [
    [["leader", "x", "--out", at("x")], /no ROLE NAME/],
    [["worker", "--out", at("x")], /no ROLE NAME/],
    [["worker", "a/b", "--job", "digits", "--out", at("x")], /The name is "a\/b"/],
    [["worker", "x", "--out", at("x")], /--job is missing/],
    [["operator", "x", "--job", "digits", "--out", at("x")], /--job has no meaning here/],
    [["worker", "x", "--job", "digits", "--hosts", "a", "--out", at("x")], /--hosts has no meaning here/],
    [["etcd", "x", "--out", at("x")], /--hosts is missing/],
    [
      ["etcd", "x", "--hosts", "a,https://b:2379", "--out", at("x")],
      /--hosts has "https:\/\/b:2379"; names and IP addresses/,
    ],
    [["etcd", "x", "--hosts", "a b", "--out", at("x")], /--hosts has "a b"/],
    [["etcd", "x", "--hosts", "10.0.0.7:2379", "--out", at("x")], /--hosts has "10\.0\.0\.7:2379"/],
    [["worker", "x", "--job", "digits"], /--out is missing/],
    [["worker", "x", "--job", "digits", "--out", at("w")], /There is a certificate/],
    [["worker", "x,w", "--job", "digits", "--out", at("{name}")], /There is a certificate in .*\/w already/],
    [["worker", "x,y", "--job", "digits", "--out", at("x")], /Several certificates would go into/],
    [["worker", "x,x", "--job", "digits", "--out", at("{name}")], /Several certificates would go into/],
    [["worker", "x,", "--job", "digits", "--out", at("{name}")], /no ROLE NAME/],
    [["worker", "x", "--job", "digits", "--out", at("x"), "--days", "101"], /it cannot sign for 101 days/],
  ] as const) {
    await assert.rejects(issue(...words), { code: "usage", message: expected });
  }
  await assert.rejects(stat(at("x")), { code: "ENOENT" }, "of several all are refused, or none");
  await issue("worker", "w1,w2", "--job", "digits", "--out", at("{name}"), "--days", "20");
  for (const name of ["w1", "w2"]) {
    assert.equal((await certificateIn(at(name))).subjectAltName, `URI:spiffe://lockstep/job/digits/worker/${name}`);
  }
  await assert.rejects(run(certsRotate, at("w"), "--authority", at("nowhere")), {
    code: "usage",
    message: /There is no authority/,
  });
});

test("without certificates only loopback is served and called, unless --insecure says otherwise, loudly", async (context) => {
  const said: string[] = [];
  const log = { info: () => {}, warn: (message: string) => void said.push(message) } as unknown as Log; // all that is used
  const open = async (...words: string[]) => {
    const security = await openSecurity(parseCommand(worker, ["job.ts", ...words]), log);
    context.after(() => security.close());
    return security;
  };
  const checks = (security: Awaited<ReturnType<typeof open>>) => ({
    serves: (address: string) => checkListen("listen", address, security),
    calls: (endpoint: string) => checkEndpoints([endpoint], security),
    asks: (address: string) => checkCoordinator(address, security),
  });
  const closed = checks(await open());
  for (const host of ["127.0.0.1", "localhost", "[::1]"]) {
    closed.serves(`${host}:0`);
    closed.calls(`http://${host}:2379`);
    closed.asks(`${host}:7070`);
  }
  for (const host of ["0.0.0.0", "[::]", "10.0.0.7", "node-a.example.org"]) {
    assert.throws(() => closed.serves(`${host}:0`), { code: "usage", hint: /--tls DIR.*--insecure/ });
    assert.throws(() => closed.calls(`http://${host}:2379`), { code: "usage", hint: /--tls DIR.*--insecure/ });
    assert.throws(() => closed.asks(`${host}:7070`), { code: "usage", hint: /--tls DIR.*--insecure/ });
  }
  assert.throws(() => closed.calls("https://10.0.0.7:2379"), { code: "usage", hint: /--tls DIR/ });
  assert.deepEqual(said, []);
  const insecure = checks(await open("--insecure"));
  assert.match(said[0] ?? "", /^INSECURE: /);
  insecure.serves("0.0.0.0:0");
  insecure.calls("http://10.0.0.7:2379");
  insecure.asks("10.0.0.7:7070");

  const folder = await own().folderOf("worker", "a");
  const security = await open("--tls", folder);
  const secure = checks(security);
  secure.serves("0.0.0.0:0");
  secure.asks("10.0.0.7:7070");
  secure.calls("https://10.0.0.7:2379");
  assert.throws(() => secure.calls("http://127.0.0.1:2379"), { code: "usage", hint: /https:/ });
  await assert.rejects(open("--tls", folder, "--insecure"), { code: "usage" });
  await assert.rejects(open("--tls", join(folder, "nowhere")), {
    code: "bad-certificate",
    message: /ca\.crt cannot be read/,
  });

  checkOwner(security, "worker", "digits", "a");
  for (const [role, job, name] of [
    ["worker", "digits", "b"],
    ["worker", "letters", "a"],
    ["coordinator", "digits", "a"],
  ] as const) {
    assert.throws(() => checkOwner(security, role, job, name), {
      code: "bad-certificate",
      message: /is that of the worker "a" of the job "digits"; this is the /,
    });
  }
});

test("a launch that goes on for longer than half of its certificates' time makes them anew, with new keys and the same names", async () => {
  const launched = await localCertificates(at("job"), "digits", null);
  const folders = [launched.etcd, launched.operator.folder, await launched.folderFor("worker", "worker-0")];
  const keys = () => Promise.all(folders.map((folder) => readFile(join(folder, "tls.key"), "utf8")));
  const names = () => Promise.all(folders.map(async (folder) => (await certificateIn(folder)).subjectAltName));
  const [keysBefore, namesBefore] = [await keys(), await names()];
  const dayMs = 24 * 3600 * 1000;
  assert.deepEqual(await launched.renew(Date.now() + 180 * dayMs), []);
  assert.deepEqual(await launched.renew(Date.now() + 184 * dayMs), folders);
  assert.ok((await keys()).every((key, index) => key !== keysBefore[index]));
  assert.deepEqual(await names(), namesBefore);
  assert.deepEqual(await launched.renew(Date.now() + 184 * dayMs), [], "until those are as old");
  launched.operator.close();
});
