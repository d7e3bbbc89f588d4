import assert from "node:assert/strict";
import { test } from "node:test";
import type { DashboardView, DecisionEntry, Rows } from "../../src/core/dashboard-view.ts";
import type { EpochHistory } from "../../src/core/status.ts";
import { type Patch, patchedRows, type RowsPatch, ViewFeed } from "../../src/core/view-feed.ts";

const epoch = (number: number, loss = 1 / number): EpochHistory => ({
  ...{ epoch: number, step: 10 * number, metrics: { loss }, improved: true },
});
const decision = (atMs: number): DecisionEntry => ({
  ...{ atMs, level: "info", process: "coordinator", message: "forming", fields: {} },
});

function viewWith(change: {
  readonly state?: string;
  readonly history?: readonly EpochHistory[];
  readonly decisions?: Rows<DecisionEntry>;
}): DashboardView {
  const { state = "training", history = [], decisions = { first: 0, items: [] } } = change;
  return {
    ...{ status: { state }, timeline: [], checkpoints: { rows: [] }, health: {} },
    ...{ history: { first: 0, items: history }, rates: { first: 0, items: [] }, decisions },
  } as unknown as DashboardView; // the feed looks into none of the sections
}

const told = (patches: readonly Patch[]) => patches.map(({ section }) => section);

test("who comes for the first time is told everything, and afterwards only what changed", () => {
  const feed = new ViewFeed();
  feed.advance(viewWith({ history: [epoch(1)] }));
  assert.deepEqual(told(feed.since(null)).sort(), [
    ...["checkpoints", "decisions", "health", "history", "rates", "status", "timeline"],
  ]);
  const seen = feed.version;
  assert.equal(feed.advance(viewWith({ history: [epoch(1)] })), false, "the same once more");
  assert.deepEqual([feed.version, feed.since(seen)], [seen, []]);
  assert.equal(feed.advance(viewWith({ state: "paused", history: [epoch(1), epoch(2)] })), true);
  assert.deepEqual(feed.since(seen), [
    { section: "status", value: { state: "paused" } },
    { section: "history", first: 0, from: 1, items: [epoch(2)] },
  ]);
});

test("whoever missed several versions is told what came since, however many there were", () => {
  const feed = new ViewFeed();
  feed.advance(viewWith({ history: [epoch(1)] }));
  const seen = feed.version;
  for (const last of [2, 3, 4]) {
    feed.advance(viewWith({ history: Array.from({ length: last }, (_, i) => epoch(i + 1)) }));
  }
  const [patch] = feed.since(seen);
  assert.deepEqual(patch, { section: "history", first: 0, from: 1, items: [epoch(2), epoch(3), epoch(4)] });
});

test("rows that were taken back or changed are sent anew: a run that goes back has another history", () => {
  for (const history of [[epoch(1)], [epoch(1), epoch(2, 7)]]) {
    const feed = new ViewFeed();
    feed.advance(viewWith({ history: [epoch(1), epoch(2)] }));
    const seen = feed.version;
    feed.advance(viewWith({ history }));
    assert.deepEqual(feed.since(seen), [{ section: "history", first: 0, from: 0, items: history }]);
  }
});

test("the receiver has the same rows as the sender, also when the oldest are forgotten", () => {
  const feed = new ViewFeed();
  let seen: number | null = null;
  let rows: Rows<DecisionEntry> = { first: 0, items: [] };
  for (let end = 1; end <= 40; end += 1) {
    const first = Math.max(0, end - 5);
    const decisions = { first, items: Array.from({ length: end - first }, (_, i) => decision(first + i)) };
    feed.advance(viewWith({ decisions }));
    if (end % 3 === 0) continue; // the connection is lost
    for (const patch of feed.since(seen)) {
      if (patch.section === "decisions") rows = patchedRows(rows, patch as RowsPatch);
    }
    seen = feed.version;
    assert.deepEqual(rows, decisions);
  }
});
