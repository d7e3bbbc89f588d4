import assert from "node:assert/strict";
import { test } from "node:test";
import { LockstepError } from "../../src/core/errors.ts";
import { askedOf, restartsSince, type Wish, type Wishes, wishesOf, withWish } from "../../src/core/wishes.ts";

const place = { names: ["worker-0", "worker-1"], mostWorkers: 4 };
const none = wishesOf(2, null);
const after = (...wishes: readonly Wish[]): Wishes => wishes.reduce((all, wish) => withWish(all, wish, place), none);
const refuses = (wish: Wish, says: RegExp) =>
  assert.throws(
    () => after(wish),
    (error) => error instanceof LockstepError && error.code === "usage" && says.test(error.message),
  );

test("a start begins without the wishes of the one before", () => {
  const drained = after({ kind: "drain", worker: "worker-1" });
  assert.deepEqual(wishesOf(2, drained), drained);
  assert.deepEqual(wishesOf(3, drained), { ...none, start: 3 });
});

test("a drained worker is asked to leave, whenever it is started, until it is restarted", () => {
  const drained = after({ kind: "drain", worker: "worker-1" }, { kind: "drain", worker: "worker-1" });
  assert.deepEqual(drained.drained, ["worker-1"]);
  assert.equal(askedOf(drained, none, "worker-1"), "leave");
  assert.equal(askedOf(drained, drained, "worker-1"), "leave");
  assert.equal(askedOf(drained, none, "worker-0"), null);
  const back = withWish(drained, { kind: "restart", worker: "worker-1" }, place);
  assert.deepEqual([back.drained, restartsSince(drained, back)], [[], ["worker-1"]]);
  // The one that stood idle has read nothing since, and one that is started now has read it all.
  assert.equal(askedOf(back, back, "worker-1"), null);
});

test("who is restarted is asked once, by the count that it has read when it started", () => {
  const once = after({ kind: "restart", worker: "worker-0" });
  assert.equal(askedOf(once, none, "worker-0"), "start again");
  assert.equal(askedOf(once, once, "worker-0"), null);
  const twice = withWish(once, { kind: "restart", worker: "worker-0" }, place);
  assert.equal(askedOf(twice, once, "worker-0"), "start again");
  assert.deepEqual(restartsSince(once, twice), ["worker-0"]);
  assert.deepEqual(restartsSince(twice, twice), []);
});

test("what cannot be is refused, with what can", () => {
  assert.equal(after({ kind: "scale", workers: 4 }).workers, 4);
  refuses({ kind: "scale", workers: 5 }, /5 workers were asked for; the run takes 1 to 4/);
  refuses({ kind: "scale", workers: 0 }, /0 workers were asked for/);
  refuses({ kind: "drain", worker: "worker-7" }, /There is no worker "worker-7"\. There are worker-0, worker-1\./);
  // One that was given up is not there, and may be wanted again.
  assert.deepEqual(after({ kind: "restart", worker: "worker-3" }).restarts, { "worker-3": 1 });
});
