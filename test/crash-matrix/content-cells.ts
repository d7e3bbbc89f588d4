/** What lies in storage is damaged, foreign or malicious; metrics are not numbers; the wall clock is wrong. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { openDirectoryStorage } from "../../src/adapters/fs/checkpoint-storage.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { type Manifest, serializeManifest } from "../../src/core/manifest.ts";
import type { Clock } from "../../src/ports/clock.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";
import type { VolatileDisk } from "../fixtures/volatile-disk.ts";
import { assertSentence, checkFenced, checkGoesOn, checkWhole, nextStart, pointersOf } from "./checks.ts";
import type { Cell, FaultKind } from "./matrix.ts";
import { openStage, publishUpTo, sceneInMemory, type Stage, watchPublications } from "./stage.ts";

const fileNames = ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"];
const latestEpoch = 3;
const hourMs = 3_600_000;

export function contentCells(): readonly Cell[] {
  const cell = (fault: FaultKind, where: string, run: () => Promise<number>): Cell => ({ fault, where, run });
  return [
    ...fileNames.map((name) => cell("flipped-bit", `${name} of latest`, () => flippedBits(name))),
    ...fileNames.map((name) => cell("flipped-bit", `${name} of an older one`, () => flippedInOlder(name))),
    cell("flipped-bit", "a file of every checkpoint", flippedEverywhere),
    cell("newer-manifest", "latest is of format version 2", newerManifest),
    ...["../x", "..", "a/../../x", "/etc/hostname"].map((name) =>
      cell("path-with-dots", `latest names the file "${name}"`, () => pathWithDots(name)),
    ),
    ...["weights.safetensors", "optimizer.safetensors"].flatMap((name) => [
      cell("oversized-header", `${name} declares 2^40 bytes of header`, () => oversizedHeader(name, 2n ** 40n)),
      cell("oversized-header", `${name} declares 2^64 - 1 bytes of header`, () =>
        oversizedHeader(name, 2n ** 64n - 1n),
      ),
    ]),
    cell("oversized-header", "a manifest of 17 MiB", oversizedManifest),
    cell("nan-metrics", "NaN first", () => strangeMetrics([Number.NaN, 0.9, 0.5], [null, 2, 3])),
    cell("nan-metrics", "NaN later", () => strangeMetrics([0.5, Number.NaN, 0.6, 0.4], [1, 1, 1, 4])),
    cell("nan-metrics", "NaN always", () => strangeMetrics([Number.NaN, Number.NaN, Number.NaN], [null, null, null])),
    cell("nan-metrics", "-Infinity first", () => strangeMetrics([Number.NEGATIVE_INFINITY, 0.9], [null, 2])),
    cell("nan-metrics", "+Infinity later", () => strangeMetrics([0.9, Number.POSITIVE_INFINITY, 0.8], [1, 1, 3])),
    ...[-hourMs, hourMs].flatMap((jumpMs) => {
      const jump = `${jumpMs > 0 ? "+" : "−"}1 h`;
      return [
        cell("wall-clock", `${jump} between two checkpoints of one leader`, () => wallClock(jumpMs, "same")),
        cell("wall-clock", `${jump} on the next leader's machine`, () => wallClock(jumpMs, "next")),
      ];
    }),
  ];
}

interface Published {
  readonly stage: Stage;
  readonly id: string;
  read(name: string): Promise<Uint8Array>;
  replace(name: string, bytes: Uint8Array): Promise<void>;
}

/** `latest` is of epoch 3, and may be damaged. */
async function published(ofEpoch = latestEpoch): Promise<Published> {
  const stage = await openStage();
  const { scene, disk } = stage;
  await stage.first.leave();
  await stage.second.leave();
  const storage = await openDirectoryStorage(scene.place.directory, scene.log, disk);
  const { id } = (await storage.list()).find(({ manifest }) => manifest.epoch === ofEpoch)!;
  const pathOf = (name: string) => join(scene.place.directory, id, name);
  return {
    stage,
    id,
    read: (name) => readWhole(disk, pathOf(name)),
    replace: async (name, bytes) => {
      await disk.removeTree(pathOf(name));
      await (await disk.create(pathOf(name))).write([bytes], 0);
    },
  };
}

async function readWhole(disk: VolatileDisk, path: string): Promise<Uint8Array> {
  const file = await disk.open(path);
  const bytes = new Uint8Array(await file.sizeBytes());
  await file.read([bytes], 0);
  return bytes;
}

async function flippedBits(name: string): Promise<number> {
  const fractions = [0, 0.25, 0.5, 0.75, 1];
  for (const [i, fraction] of fractions.entries()) {
    const { stage, id, read, replace } = await published();
    const damaged = Uint8Array.from(await read(name));
    damaged[Math.round(fraction * (damaged.length - 1))]! ^= 1 << i;
    await replace(name, damaged);
    await assertSetAside(stage, id, name);
  }
  return fractions.length;
}

/** It is told from a whole one, and the start takes the one before it and says why. */
async function assertSetAside({ scene, disk }: Stage, id: string, name: string): Promise<void> {
  const storage = await openDirectoryStorage(scene.place.directory, scene.log, disk);
  await assert.rejects(
    storage.load(id),
    (error) => error instanceof LockstepError && error.code === "corrupt-checkpoint",
  );
  const start = await nextStart(scene, disk);
  assert.ok(start.kind === "resumes", "why" in start ? start.why : "");
  assert.equal(start.epoch, latestEpoch - 1, "the newest whole one below it");
  assert.equal(start.setAside.length, 1);
  assertSentence(start.setAside[0]!);
  assert.ok(start.setAside[0]!.includes(join(id, name)), `${start.setAside[0]} names the file`);
}

async function flippedInOlder(name: string): Promise<number> {
  const { stage, id, read, replace } = await published(latestEpoch - 1);
  const damaged = Uint8Array.from(await read(name));
  damaged[damaged.length >> 1]! ^= 1;
  await replace(name, damaged);
  const storage = await openDirectoryStorage(stage.scene.place.directory, stage.scene.log, stage.disk);
  await assert.rejects(
    storage.load(id),
    (error) => error instanceof LockstepError && error.code === "corrupt-checkpoint",
  );
  assert.deepEqual(await nextStart(stage.scene, stage.disk), { kind: "resumes", epoch: latestEpoch, setAside: [] });
  return 1;
}

async function flippedEverywhere(): Promise<number> {
  const { stage } = await published();
  const { disk, scene } = stage;
  const ids = await disk.names(scene.place.directory);
  for (const id of ids) {
    const path = join(scene.place.directory, id, "state.json");
    const damaged = await readWhole(disk, path);
    damaged[3]! ^= 8;
    await disk.removeFile(path);
    await (await disk.create(path)).write([damaged], 0);
  }
  const start = await nextStart(scene, disk);
  assert.ok(start.kind === "refuses", "nothing is left to go on from");
  assertSentence(start.why);
  return ids.length;
}

async function newerManifest(): Promise<number> {
  const { stage, id, replace } = await published();
  const manifest = await manifestOf(stage, id);
  // A version that the type does not have yet.
  const newer = { ...manifest, formatVersion: 2 } as unknown as Manifest;
  await replace("manifest.json", Buffer.from(serializeManifest(newer)));
  const start = await nextStart(stage.scene, stage.disk);
  assert.ok(start.kind === "refuses", "an older state is not taken silently for the newest");
  assert.match(start.why, /format version 2.*a newer lockstep wrote it/);
  assertSentence(start.why);
  return 1;
}

async function pathWithDots(name: string): Promise<number> {
  const { stage, id, replace } = await published();
  const manifest = await manifestOf(stage, id);
  const files = manifest.files.map((file, i) => (i === 0 ? { ...file, name } : file));
  await replace("manifest.json", Buffer.from(serializeManifest({ ...manifest, files })));
  await assertSetAside(stage, id, "manifest.json");
  return 1;
}

/** With a hash that fits, as whoever means harm would make it. */
async function oversizedHeader(name: string, declared: bigint): Promise<number> {
  const { stage, id, read, replace } = await published();
  const bytes = Uint8Array.from(await read(name));
  new DataView(bytes.buffer).setBigUint64(0, declared, true);
  await replace(name, bytes);
  const manifest = await manifestOf(stage, id);
  const hash = createHash("sha256").update(bytes).digest("hex");
  const files = manifest.files.map((file) => (file.name === name ? { ...file, sha256: hash } : file));
  await replace("manifest.json", Buffer.from(serializeManifest({ ...manifest, files })));
  const bytesBefore = process.memoryUsage().arrayBuffers;
  await assertSetAside(stage, id, name);
  assert.ok(process.memoryUsage().arrayBuffers - bytesBefore < 2 ** 26, "no memory is taken for it");
  return 1;
}

async function oversizedManifest(): Promise<number> {
  const { stage, id, replace } = await published();
  await replace("manifest.json", new Uint8Array(17 * 2 ** 20).fill(32));
  await assertSetAside(stage, id, "manifest.json");
  return 1;
}

/** As it lies there, whether or not it would be accepted. */
async function manifestOf({ scene, disk }: Stage, id: string): Promise<Manifest> {
  const text = Buffer.from(await readWhole(disk, join(scene.place.directory, id, "manifest.json"))).toString();
  const { crc32: _, ...manifest } = JSON.parse(text);
  return manifest as Manifest;
}

/** `bests`: the epoch that `best` names after each epoch. */
async function strangeMetrics(losses: readonly number[], bests: readonly (number | null)[]): Promise<number> {
  const clock = new ManualClock();
  const { scene, disk, store } = sceneInMemory(clock, { losses: [...losses, 0.95, 0.01] });
  const publications = watchPublications(store);
  await scene.form("first");
  const leader = await scene.leader(scene.enter("first"));
  await leader.stand();
  await publishUpTo(scene, leader, 0);
  for (const [i, best] of bests.entries()) {
    await publishUpTo(scene, leader, i + 1, i + 1);
    const pointers = await pointersOf(scene);
    assert.equal(pointers.latest?.epoch, i + 1);
    assert.equal(pointers.best?.epoch ?? null, best, `best after ${losses.slice(0, i + 1).join(", ")}`);
    await checkWhole(scene, disk);
  }
  await leader.leave();
  // Whoever resumes knows the best so far: 0.95 takes nothing away from a better one, and 0.01 is better than all.
  await checkGoesOn(scene, disk, losses.length + 1);
  await checkGoesOn(scene, disk, losses.length + 2);
  assert.equal((await pointersOf(scene)).best?.epoch, losses.length + 2);
  checkFenced(publications);
  return losses.filter((loss) => !Number.isFinite(loss)).length;
}

async function wallClock(jumpMs: number, whose: "same" | "next"): Promise<number> {
  const clock = new ManualClock();
  let offsetMs = 10 * hourMs;
  const shifted: Clock = {
    monotonicMs: () => clock.monotonicMs(),
    wallMs: () => clock.wallMs() + offsetMs,
    sleep: (ms, signal) => clock.sleep(ms, signal),
  };
  const { scene, disk, store } = sceneInMemory(clock, { clock: shifted });
  const publications = watchPublications(store);
  await scene.form("first");
  const leader = await scene.leader(scene.enter("first"));
  await leader.stand();
  await publishUpTo(scene, leader, 2);
  offsetMs += jumpMs;
  if (whose === "same") await publishUpTo(scene, leader, 3, 3);
  await leader.leave();
  if (whose === "next") await checkGoesOn(scene, disk, 3);
  const storage = await openDirectoryStorage(scene.place.directory, scene.log, disk);
  const list = await storage.list();
  const times = list.map(({ manifest }) => Date.parse(manifest.writtenAt));
  assert.ok(Math.max(...times) - Math.min(...times) >= hourMs, "the clock did jump");
  assert.deepEqual(
    list.map(({ manifest }) => manifest.step),
    list.map(({ manifest }) => manifest.step).sort((a, b) => a - b),
    "what is newest is decided by steps, not by times",
  );
  assert.equal(list.at(-1)?.manifest.epoch, 3);
  await checkGoesOn(scene, disk, 4);
  checkFenced(publications);
  return 1;
}
