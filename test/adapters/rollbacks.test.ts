/** Rule 7: how a client notices that its store was put back, and what it must not take for that. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rollbacks } from "../../src/adapters/etcd/rollbacks.ts";

const at = (revision: number, store = "a") => ({ store, revision });

test("rule 7: a revision below one that was known when the request was sent is a rollback, however answers overtake each other", () => {
  const rollbacks = new Rollbacks();
  const [slow, quick] = [rollbacks.sent(), rollbacks.sent()];
  quick(at(7));
  slow(at(5)); // it was answered first
  assert.equal(rollbacks.count, 0);
  rollbacks.sent()(at(7));
  assert.equal(rollbacks.count, 0);
  rollbacks.sent()(at(6));
  assert.equal(rollbacks.count, 1);
});

test("rule 7: one rollback counts once, though many answers show it, and late ones come from before it", () => {
  const rollbacks = new Rollbacks();
  rollbacks.sent()(at(9));
  const [first, second, late] = [rollbacks.sent(), rollbacks.sent(), rollbacks.sent()];
  first(at(3));
  second(at(4));
  late(at(9));
  rollbacks.sent()(at(5));
  assert.equal(rollbacks.count, 1);
  rollbacks.sent()(at(2));
  assert.equal(rollbacks.count, 2);
});

test("rule 7: another store counts, whatever its revision", () => {
  const rollbacks = new Rollbacks();
  rollbacks.sent()(at(9));
  rollbacks.sent()(at(1_000_000, "b"));
  rollbacks.sent()(at(1_000_001, "b"));
  assert.equal(rollbacks.count, 1);
});
