import assert from "node:assert/strict";
import { test } from "node:test";
import { hostAndPort, isLoopback } from "../../src/core/addresses.ts";
import { type Identity, identityIn, identityOf, identityUri, whyNot, workerNameOf } from "../../src/core/identity.ts";
import { Refusals } from "../../src/core/refusals.ts";

const worker: Identity = { role: "worker", job: "digits", name: "worker-0" };
const operator: Identity = { role: "operator", job: null, name: "anna" };

test("what was written is what is read, of every role", () => {
  for (const identity of [worker, { ...worker, role: "coordinator" } as const, operator]) {
    assert.deepEqual(identityOf(identityUri(identity)), identity);
    assert.deepEqual(identityIn(`DNS:localhost, URI:${identityUri(identity)}, IP Address:127.0.0.1`), identity);
  }
  assert.equal(identityUri(worker), "spiffe://lockstep/job/digits/worker/worker-0");
});

test("a URI that names nobody of lockstep's is nobody", () => {
  for (const uri of [
    "",
    "spiffe://lockstep",
    "spiffe://lockstep/",
    "spiffe://lockstep/worker/a",
    "spiffe://lockstep/job/digits/operator/a",
    "spiffe://lockstep/job/digits/worker",
    "spiffe://lockstep/job/digits/worker/",
    "spiffe://lockstep/job/digits/worker/a/b",
    "spiffe://lockstep/job//worker/a",
    "spiffe://lockstep/job/digits/leader/a",
    "spiffe://lockstep/job/digits/worker/a b",
    "spiffe://lockstep/job/../worker/a",
    "spiffe://other/job/digits/worker/a",
    "https://lockstep/job/digits/worker/a",
    'spiffe://lockstep/job/digits/worker/a"',
  ]) {
    assert.equal(identityOf(uri), null, uri);
  }
});

test("a name that only looks like a URI is none, and who says to be two is nobody", () => {
  const uri = identityUri(worker);
  for (const names of [
    undefined,
    "",
    `DNS:${uri}`,
    `DNS:"a, URI:${uri}"`,
    `DNS:"a\\", URI:${uri}"`,
    `URI:"${uri}"`,
    `URI:${uri}, URI:${identityUri(operator)}`,
  ]) {
    assert.equal(identityIn(names), null, names);
  }
  assert.deepEqual(identityIn(`URI:spiffe://cluster.local/ns/a/sa/b, URI:${uri}`), worker);
});

test("who was expected is let in, and everybody else is told apart from it", () => {
  const own: Identity = { role: "coordinator", job: "digits", name: "main" };
  const cases: readonly [peer: Identity | null, own: Identity, name: string | undefined, expected: RegExp | null][] = [
    [worker, own, undefined, null],
    [worker, own, "worker-0", null],
    [worker, operator, undefined, null],
    [worker, own, "worker-1", /the worker "worker-0", and the worker "worker-1" was expected/],
    [operator, own, undefined, /the operator "anna", and the worker was expected/],
    [{ ...worker, job: "other" }, own, undefined, /of the job "other", and this is "digits"/],
    [null, own, undefined, /names nobody/],
  ];
  for (const [peer, self, name, expected] of cases) {
    const why = whyNot(peer, self, { roles: ["worker"], ...(name !== undefined && { name }) });
    if (expected === null) assert.equal(why, null);
    else assert.match(why ?? "", expected);
  }
});

test("a worker's name is its id without the incarnation", () => {
  assert.equal(workerNameOf("worker-0.8k2m1x9p"), "worker-0");
  assert.equal(workerNameOf("node.a.8k2m1x9p"), "node.a");
  assert.equal(workerNameOf("a"), "a");
});

test("loopback is what only this machine reaches", () => {
  for (const host of ["127.0.0.1", "127.9.8.7", "::1", "localhost", "::ffff:127.0.0.1"])
    assert.ok(isLoopback(host), host);
  for (const host of [
    "0.0.0.0",
    "::",
    "10.0.0.1",
    "127.0.0.1.example.org",
    "localhost.example.org",
    "1270.0.0.1",
    "",
  ]) {
    assert.ok(!isLoopback(host), host);
  }
  assert.deepEqual(hostAndPort("[::1]:70"), { host: "::1", port: 70 });
  assert.deepEqual(hostAndPort("a.b:0"), { host: "a.b", port: 0 });
});

test("refusals are told at the first, and again at ten times as many, for each kind", () => {
  const told: string[] = [];
  const refusals = new Refusals(({ kind, count }) => told.push(`${kind} ${count}`));
  for (let n = 0; n < 250; n++) refusals.note({ kind: "no certificate", from: `${n}`, detail: "" });
  refusals.note({ kind: "too many connections", from: "", detail: "" });
  assert.deepEqual(told, ["no certificate 1", "no certificate 10", "no certificate 100", "too many connections 1"]);
  assert.deepEqual(refusals.counts, { "no certificate": 250, "too many connections": 1 });
});
