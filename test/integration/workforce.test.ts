/** As many workers as were asked for last, whatever was asked for before and is still under way. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LocalCluster } from "../../src/cli/cluster.ts";
import { Workforce } from "../../src/cli/workforce.ts";

test("a worker whose words are still being found when fewer are asked for is not started", async () => {
  const launched: string[] = [];
  const dismissed: string[] = [];
  // All that is used of a cluster.
  const cluster = {
    isEnding: false,
    names: () => launched,
    isKept: (name: string) => launched.includes(name),
    child: () => undefined,
    launch: (name: string) => void launched.push(name),
    dismiss: async (name: string) => void dismissed.push(name),
  } as unknown as LocalCluster;
  let findWords = (_words: readonly string[]): void => {};
  const changes: number[] = [];
  let changed = () => {};
  const workforce = new Workforce({
    cluster,
    workers: 1,
    spares: 0,
    wordsOf: (index) =>
      index === 0
        ? Promise.resolve([])
        : new Promise((resolve) => {
            findWords = resolve;
          }),
    say: () => {},
    onChange: () => {
      changes.push(workforce.workers);
      changed();
    },
  });
  const wishing = (workers: number) => ({ start: 1, workers, drained: [], restarts: {} });
  workforce.start();
  workforce.follow(wishing(1));
  workforce.follow(wishing(2));
  await new Promise((resolve) => setImmediate(resolve)); // the change has begun, and waits for the certificate
  assert.equal(workforce.workers, 1, "it is not there yet");
  const isChanged = new Promise<void>((resolve) => {
    changed = () => {
      if (changes.length === 2) resolve();
    };
  });
  workforce.follow(wishing(1));
  findWords([]);
  await isChanged;
  assert.deepEqual([launched, dismissed, workforce.workers], [["worker-0"], [], 1]);
});
