/** What must hold after every fault: promise 3, and that the next start does the right thing. */
import assert from "node:assert/strict";
import { openDirectoryStorage } from "../../src/adapters/fs/checkpoint-storage.ts";
import type { FileSystem } from "../../src/adapters/fs/file-system.ts";
import { beginningOf, type PublishedCheckpoint } from "../../src/core/beginning.ts";
import { failureBudget } from "../../src/core/failure-budget.ts";
import { LockstepError, messageOf } from "../../src/core/errors.ts";
import { decodeJson } from "../../src/core/json.ts";
import type { CheckpointRecord, PublishedRecord } from "../../src/core/records.ts";
import type { StateName } from "../../src/core/state-order.ts";
import { type CheckpointPointer, stateOf } from "../../src/core/status.ts";
import type { CheckpointContent, CheckpointStorage } from "../../src/ports/checkpoint-storage.ts";
import type { Log } from "../../src/ports/log.ts";
import { loadState } from "../../src/runtime/load-state.ts";
import { readRun } from "../../src/runtime/run-reading.ts";
import { assertSameContent } from "../contract/checkpoint-storage.contract.ts";
import type { Process } from "./process.ts";
import { neverMs, type Scene } from "./scene.ts";

/** One change of `latest`, with the fencing token that the leadership key had at that moment. */
export interface Publication {
  readonly pointer: CheckpointPointer;
  readonly leaderToken: number | null;
}

export async function pointersOf(scene: Scene): Promise<Record<"latest" | "best", CheckpointPointer | null>> {
  const entries = await scene.observer.read([scene.keys.latest, scene.keys.best]);
  const of = (key: string) => {
    const entry = entries.get(key);
    return entry ? decodeJson<CheckpointPointer>(entry.value) : null;
  };
  return { latest: of(scene.keys.latest), best: of(scene.keys.best) };
}

/** `latest` and `best`, and whatever else may be gone on from, are whole, verified, and what was trained. */
export async function checkWhole(scene: Scene, disk: FileSystem): Promise<void> {
  const storage = await openDirectoryStorage(scene.place.directory, scene.log, disk);
  const { latest, best } = await pointersOf(scene);
  for (const pointer of [latest, best]) if (pointer) await checkPointer(scene, storage, pointer);
  const { entries } = await scene.observer.list(scene.keys.checkpoints);
  for (const { value } of entries) {
    const record = decodeJson<CheckpointRecord>(value);
    if (record.state === "live") await checkPointer(scene, storage, record.pointer);
  }
  for (const { id } of await storage.list()) assertTrained(scene, await storage.load(id));
}

/** `latest` only ever moved forward, and only the leader moved it. */
export function checkFenced(publications: readonly Publication[]): void {
  let before: CheckpointPointer | null = null;
  for (const { pointer, leaderToken } of publications) {
    const token = Number(/-t(\d+)-/.exec(pointer.id)?.[1]);
    assert.equal(token, leaderToken, `${pointer.id} was published by a leader whose token was ${leaderToken} by then`);
    if (before) assert.ok(pointer.step > before.step, `latest went from step ${before.step} to ${pointer.step}`);
    before = pointer;
  }
}

async function checkPointer(scene: Scene, storage: CheckpointStorage, pointer: CheckpointPointer): Promise<void> {
  const content = await storage.load(pointer.id);
  assert.equal(content.manifest.step, pointer.step, `${pointer.id} is of the step that its pointer names`);
  assertTrained(scene, content);
  const listed = (await storage.list()).find(({ id }) => id === pointer.id);
  assert.equal(listed?.manifestSha256, pointer.manifestSha256, `${pointer.id} has the manifest that its pointer names`);
}

function assertTrained(scene: Scene, content: CheckpointContent): void {
  assertSameContent(content, scene.content(content.manifest.epoch, content.manifest));
}

export type Start =
  | { readonly kind: "resumes"; readonly epoch: number; readonly setAside: readonly string[] }
  /** Unreadable is not corrupt: it may be whole. */
  | { readonly kind: "waits"; readonly why: string }
  | { readonly kind: "refuses"; readonly why: string };

/**
 * What the next start does: the rule by which a generation finds its beginning, and the way in which a worker takes the
 * state from a checkpoint, are the real ones; nobody has a state in memory.
 */
export async function nextStart(scene: Scene, disk: FileSystem): Promise<Start> {
  const setAside: string[] = [];
  const process = scene.enter("starting", { disk });
  try {
    const storage = await openDirectoryStorage(scene.place.directory, scene.log, process.fileSystem);
    for (;;) {
      const beginning = await beginningNow(scene);
      if ("fail" in beginning) return { kind: "refuses", why: `The run cannot go on: ${beginning.fail}.` };
      const { source } = beginning;
      assert.equal(source.kind, "checkpoint", "something was published");
      if (source.kind !== "checkpoint") continue;
      const outcome = await take(scene, process, storage, source);
      if ("epoch" in outcome) return { kind: "resumes", epoch: outcome.epoch, setAside };
      if ("waits" in outcome) return { kind: "waits", why: outcome.waits };
      setAside.push(outcome.setAside);
    }
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    assert.ok(error instanceof LockstepError, `a start ends with a clear error, not with ${messageOf(error)}`);
    return { kind: "refuses", why: error.message };
  }
}

async function beginningNow({ observer, keys }: Scene): Promise<ReturnType<typeof beginningOf>> {
  const { entries } = await observer.list(keys.prefix);
  const { checkpoints: records, origin, earlier } = readRun(entries, keys);
  const published = ({ pointer, reason }: Pick<PublishedRecord, "pointer" | "reason">): PublishedCheckpoint => {
    const { id, generation } = pointer;
    return { id, generation, state: stateOf(pointer), setAside: reason ?? null };
  };
  const checkpoints = records.map(published);
  const entry = entries.find(({ key }) => key === keys.latest);
  const pointer = entry ? decodeJson<CheckpointPointer>(entry.value) : null;
  const latest = pointer && (checkpoints.find(({ id }) => id === pointer.id) ?? published({ pointer }));
  const nothing = { equivalences: [], reports: [], replay: null, best: null };
  return beginningOf({ ...nothing, origin, earlier, latest, checkpoints }, []);
}

/** The state's epoch; or why the checkpoint was set aside; or what the worker waits for. */
async function take(
  scene: Scene,
  { name, coordination, clock }: Process,
  storage: CheckpointStorage,
  { id, state }: { readonly id: string; readonly state: StateName },
): Promise<{ epoch: number } | { setAside: string } | { waits: string }> {
  const { keys, info } = scene;
  const over = new AbortController();
  let waits: string | null = null;
  const warn: Log["warn"] = (_message, fields) => {
    waits = String(fields?.reason);
    over.abort();
  };
  const log: Log = { ...scene.log, warn, error: () => {} };
  // The coordinator would see it and form the next generation.
  const watch = coordination.watch(keys.checkpoint(id), neverMs, () => {
    void reasonOf(scene, id).then((reason) => reason !== null && over.abort());
  });
  const generation = (await coordination.get(keys.generation))!.modRevision;
  const { record } = scene;
  const options = { record, info, keys, budget: failureBudget(), coordination, storage, clock, log, workerId: name };
  try {
    const wanted = { id, digest: state.digest, generation };
    const taken = await loadState(options, wanted, over.signal, () => false);
    return { epoch: taken!.name.epoch };
  } catch (error) {
    const reason = await reasonOf(scene, id);
    if (reason !== null) return { setAside: reason };
    if (waits !== null) return { waits };
    throw error;
  } finally {
    watch.close();
  }
}

async function reasonOf({ observer, keys }: Scene, id: string): Promise<string | null> {
  const entry = await observer.get(keys.checkpoint(id));
  const record = entry && decodeJson<CheckpointRecord>(entry.value);
  return record && record.state !== "condemned" ? (record.reason ?? null) : null;
}

/** One sentence for a person, and no stack. */
export function assertSentence(text: string): void {
  assert.match(text, /^\S[^\n]*\.$/);
}

/** Whoever starts next goes on from the newest state, finishes what was begun, and trains on. */
export async function checkGoesOn(scene: Scene, disk: FileSystem, upTo: number): Promise<void> {
  const { latest } = await pointersOf(scene);
  const start = await nextStart(scene, disk);
  assert.deepEqual(start, { kind: "resumes", epoch: latest?.epoch, setAside: [] });
  await scene.form("next");
  const process = scene.enter("next", { disk });
  const leader = await scene.leader(process);
  for (let epoch = latest!.epoch + 1; epoch <= upTo; epoch += 1) {
    await scene.arrive(epoch);
    leader.add(epoch);
    await leader.work();
  }
  assert.equal(leader.alarm, null);
  const after = await pointersOf(scene);
  assert.equal(after.latest?.epoch, upTo, `the next leader publishes epoch ${upTo}: ${scene.warnings.join(" / ")}`);
  assert.equal(after.best?.epoch, scene.progresses[upTo]!.best?.epoch);
  await checkWhole(scene, disk);
  const { entries } = await scene.observer.list(scene.keys.checkpoints);
  const condemned = entries.filter(({ value }) => decodeJson<CheckpointRecord>(value).state === "condemned");
  assert.deepEqual(condemned, [], "what was condemned is gone in the end");
  const begun = (await disk.names(scene.place.directory)).filter((name) => name.startsWith("."));
  assert.deepEqual(begun, [], "so is what a dead writer has begun");
  await leader.leave();
}
