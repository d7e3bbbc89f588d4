import assert from "node:assert/strict";
import { test } from "node:test";
import { LockstepError } from "../../src/core/errors.ts";
import type { Generation, Member, Store } from "../../src/core/membership.ts";
import { checkReplicas, holdersBeside, keepersBeside } from "../../src/core/replicas.ts";

const own: Store = { id: "own", address: "10.0.0.1:7000" };

function member(name: string, machine: number, changes: Partial<Member> = {}): Member {
  return {
    ...{ workerId: `${name}.i1`, name, address: `10.0.0.${machine}:1`, pid: 1, fingerprint: {}, start: 1 },
    ...{ leaving: false, hasState: true, stepsPerEpoch: 4, stepMs: 0, seen: 0, trainedIn: 0, brings: [] },
    store: { id: name, address: `10.0.0.${machine}:7001` },
    ...changes,
  };
}

const generation = (...names: string[]): Generation => ({
  kind: "forming",
  ranIn: 0,
  generation: 3,
  members: names.map((name) => ({ workerId: `${name}.i1`, address: "" })),
  coordinator: 1,
  reason: "",
});

const names = (holders: readonly { name: string }[]) => holders.map(({ name }) => name);

test("members are asked first, in rank order, then those who stand by; who is leaving comes last", () => {
  const members = [member("a", 2), member("b", 3), member("c", 4, { leaving: true }), member("d", 5), member("e", 6)];
  assert.deepEqual(names(keepersBeside(own, members, generation("d", "c", "b"))), ["d", "b", "a", "e", "c"]);
  assert.deepEqual(names(keepersBeside(own, members, null)), ["a", "b", "d", "e", "c"]);
});

test("every other machine gets a copy before one gets a second, the writer's own among the last", () => {
  const members = [member("a", 1), member("b", 2), member("c", 2), member("d", 3), member("e", 3), member("f", 3)];
  assert.deepEqual(names(keepersBeside(own, members, null)), ["b", "d", "a", "c", "e", "f"]);
});

test("two workers with one directory have one disk, and whoever has none is not asked", () => {
  const store = { id: "b", address: "10.0.0.9:1" };
  const members = [
    member("a", 2, { store: own }),
    member("b", 2),
    member("b2", 9, { store }),
    member("c", 3, { store: null }),
  ];
  assert.deepEqual(names(keepersBeside(own, members, null)), ["b"]);
  assert.deepEqual(names(holdersBeside(own, members, ["b2"])), ["b2"]);
});

test("who had it when it was published is asked first, by name, whatever its process is now; then everybody else", () => {
  const members = [member("a", 2), member("b", 3), member("c", 4, { workerId: "c.i7" })];
  assert.deepEqual(names(holdersBeside(own, members, ["c", "gone"])), ["c", "a", "b"]);
});

test("more copies than there are workers beside the leader are refused, in a sentence that says how many would do", () => {
  checkReplicas(0, 1);
  checkReplicas(2, 3);
  const refused = (replicas: number, workers: number, hint: RegExp) =>
    assert.throws(
      () => checkReplicas(replicas, workers),
      (error) => {
        assert.ok(error instanceof LockstepError && error.code === "usage");
        assert.match(error.message, new RegExp(`^--replicas is ${replicas}: .*takes ${workers} workers? at most`));
        assert.match(error.hint ?? "", hint);
        return true;
      },
    );
  refused(3, 2, /at most --replicas 1/);
  refused(3, 3, /at most --replicas 2/);
  refused(1, 1, /nobody who could keep a copy/);
});
