/** What a coordinator is told by workers with disks of their own: real directories and real gRPC. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { connectCheckpoints } from "../../src/adapters/grpc/checkpoints.ts";
import { broughtSources } from "../../src/adapters/replicas/brought-sources.ts";
import type { Member } from "../../src/core/membership.ts";
import type { Log } from "../../src/ports/log.ts";
import { openCluster, type ReplicatingWorker } from "../fixtures/replicating-workers.ts";
import { content } from "./checkpoint-storage.contract.ts";

const silenceMs = 5000;
const run = { run: "1" };

/** Each with these checkpoints, and asked for all of them. */
async function bringing(context: TestContext, ...ids: readonly (readonly string[])[]) {
  const cluster = await openCluster(context, 0);
  const workers: ReplicatingWorker[] = [];
  for (const [i, own] of ids.entries()) {
    const worker = await cluster.start(`w${i}`);
    for (const id of own) await worker.local.write(content(id, { ...run, step: Number(id), epoch: 0 }));
    workers.push(worker);
  }
  const said: string[] = [];
  const say = (message: string) => void said.push(message);
  const log: Log = { debug: () => {}, info: () => {}, warn: say, error: say, with: () => log };
  const connect = (address: string) => connectCheckpoints(address, silenceMs, silenceMs, null);
  const members = workers.map(({ name, store }, i) => ({ name, store, brings: ids[i]! }) as unknown as Member); // nothing else is asked
  return { workers, said, sources: broughtSources({ job: "digits", connect, log }, members) };
}

async function flip(worker: ReplicatingWorker, id: string, file: string): Promise<void> {
  const path = join(worker.directory, id, file);
  const bytes = await readFile(path);
  bytes[bytes.length >> 1]! ^= 4;
  await writeFile(path, bytes);
}

test("all that is brought is listed once, in order, with all who have it; it is read but for the tensors", async (context) => {
  const { sources } = await bringing(context, ["2", "3"], ["1", "2"]);
  const stored = await sources.checkpointsOf(1);
  assert.deepEqual(
    stored.map(({ id, holders }) => [id, holders]),
    [
      ["1", ["w1"]],
      ["2", ["w0", "w1"]],
      ["3", ["w0"]],
    ],
  );
  const { manifest, state } = await sources.load(1, "3");
  const written = content("3", { ...run, step: 3, epoch: 0 });
  assert.deepEqual([manifest, state], [written.manifest, written.state]);
  assert.deepEqual(Object.keys(await sources.load(1, "3")).sort(), ["manifest", "state"]);
  assert.deepEqual(await sources.checkpointsOf(2), []);
});

for (const file of ["weights.safetensors", "optimizer.safetensors", "state.json"]) {
  test(`a damaged ${file} is passed over for another worker's copy, loudly; it is corrupt when all are`, async (context) => {
    const { workers, said, sources } = await bringing(context, ["1"], ["1"]);
    await flip(workers[0]!, "1", file);
    await sources.checkpointsOf(1);
    assert.equal((await sources.load(1, "1")).manifest.id, "1");
    assert.deepEqual(said, ["the copy of a checkpoint is damaged"]);
    await flip(workers[1]!, "1", file);
    await assert.rejects(sources.load(1, "1"), { problem: "corrupt" });
  });
}

test("a damaged manifest is passed over, and so is another checkpoint under the same id", async (context) => {
  const { workers, said, sources } = await bringing(context, ["1"], ["1"], ["1"]);
  await flip(workers[0]!, "1", "manifest.json");
  await workers[2]!.local.delete("1");
  await workers[2]!.local.write(content("1", { ...run, step: 1, epoch: 0, fencingToken: 18 }));
  assert.deepEqual(
    (await sources.checkpointsOf(1)).map(({ holders }) => holders),
    [["w1"]],
  );
  assert.deepEqual(said, ["a checkpoint is passed over", "two workers have another checkpoint under one id"]);
});

test("while one who brings something cannot be asked nothing is decided: it may have the newest", async (context) => {
  const { workers, sources } = await bringing(context, ["1"], ["2"]);
  workers[1]!.die();
  await assert.rejects(sources.checkpointsOf(1), { code: "process-failed" });
});
