/** What a process holds of a lease while it is lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { KeptLease } from "../../src/adapters/etcd/lease.ts";
import { createLog } from "../../src/adapters/system/log.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";

test("who writes that a lease is lost may ask whether it is held, as every line of a process' log tells where it stands", async (context) => {
  const clock = new ManualClock();
  const lines: string[] = [];
  const stream = { write: (text: string) => lines.push(text) };
  const isHeld = () => ({ held: lease.isHeld() });
  const log = createLog({ stream, format: "json", level: "info", context: isHeld });
  const never = () => new Promise<never>(() => {});
  const options = { id: "1", ttlMs: 1000, marginMs: 100, sentAtMs: clock.monotonicMs(), clock, log };
  const lease = new KeptLease({ ...options, renew: never, revoke: never });
  context.after(() => lease.end("the test is over"));
  await clock.advance(1000);
  assert.equal(lease.isHeld(), false);
  assert.deepEqual(
    lines
      .map((line) => JSON.parse(line) as { message: string; held: boolean })
      .map(({ message, held }) => [message, held]),
    [["lease lost", false]],
  );
});
