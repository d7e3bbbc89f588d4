/** What must hold after every fault: promise 3, and that the next start does the right thing. */
import assert from "node:assert/strict";
import { openDirectoryStorage } from "../../src/adapters/fs/checkpoint-storage.ts";
import type { FileSystem } from "../../src/adapters/fs/file-system.ts";
import { LockstepError, messageOf } from "../../src/core/errors.ts";
import { decodeJson } from "../../src/core/json.ts";
import { compareStates } from "../../src/core/manifest.ts";
import type { CheckpointRecord } from "../../src/core/records.ts";
import type { CheckpointPointer } from "../../src/core/status.ts";
import type { CheckpointContent, CheckpointStorage } from "../../src/ports/checkpoint-storage.ts";
import { assertSameContent } from "../contract/checkpoint-storage.contract.ts";
import type { Scene } from "./scene.ts";

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
    const { state, pointer } = decodeJson<CheckpointRecord>(value);
    if (state === "live") await checkPointer(scene, storage, pointer);
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
  | { readonly kind: "refuses"; readonly why: string };

/**
 * What the next start does, by rules 7 to 9: the pointers decide; what a completed read shows to be corrupt is set
 * aside with its reason, and the newest whole one below it is taken; nothing is taken where something cannot be read.
 */
export async function nextStart(scene: Scene, disk: FileSystem): Promise<Start> {
  const setAside: string[] = [];
  try {
    const storage = await openDirectoryStorage(scene.place.directory, scene.log, disk);
    const { latest } = await pointersOf(scene);
    const listed = [...(await storage.list())].sort((a, b) => compareStates(b.manifest, a.manifest));
    const ids = listed.map(({ id }) => id);
    const candidates = latest ? [latest.id, ...ids.filter((id) => id !== latest.id)] : ids;
    for (const id of candidates) {
      const content = await storage.load(id).catch((error: unknown) => {
        if (!(error instanceof LockstepError) || error.code !== "corrupt-checkpoint") throw error;
        setAside.push(error.message);
        return null;
      });
      if (content) return { kind: "resumes", epoch: content.manifest.epoch, setAside };
    }
    return { kind: "refuses", why: setAside[0] ?? "There is no checkpoint." };
  } catch (error) {
    assert.ok(error instanceof LockstepError, `a start ends with a clear error, not with ${messageOf(error)}`);
    return { kind: "refuses", why: error.message };
  }
}

/** One sentence that a person understands: it begins with a capital or a path, ends with a stop, and has no stack. */
export function assertSentence(text: string): void {
  assert.match(text, /^[A-Z/][^\n]*\.$/);
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
  await leader.leave();
}
