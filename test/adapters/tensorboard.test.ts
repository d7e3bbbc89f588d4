/** Event files as they are written and read back here; test/integration/tensorboard.test.ts has TensorBoard read them. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { decodeEvent, type ReadEvent } from "../../src/adapters/tensorboard/events.ts";
import { histogramOf } from "../../src/adapters/tensorboard/histogram.ts";
import { crc32c, decodeRecords, encodeRecord, maskedCrc32c } from "../../src/adapters/tensorboard/records.ts";
import { TensorBoardLog } from "../../src/adapters/tensorboard/tensorboard-log.ts";
import type { EpochHistory } from "../../src/core/status.ts";

async function folderOf(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-tensorboard-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Epochs from 1 on with these losses; validation is ten times as large. */
const epochs = (...losses: number[]): EpochHistory[] =>
  losses.map((loss, i) => ({ epoch: i + 1, step: i + 1, metrics: { loss, val_loss: loss * 10 }, improved: false }));

const model = '{"class_name":"Sequential"}';

/** A leader that finds this history committed under a token of its own. */
async function lead(directory: string, writer: string, token: number, history: EpochHistory[], nowMs = 1000_000) {
  const log = new TensorBoardLog({ directory, writer, histograms: [], topology: model, clock: () => nowMs });
  await log.record({ token, history, weights: () => [], gradients: async () => null });
  return log;
}

/** All events of a folder, in the order in which TensorBoard reads them. */
async function eventsIn(folder: string): Promise<ReadEvent[]> {
  const names = (await readdir(folder)).sort();
  const files = await Promise.all(names.map((name) => readFile(join(folder, name))));
  return files.flatMap((file) => [...decodeRecords(file)].map(decodeEvent));
}

const lossesIn = (events: readonly ReadEvent[]) =>
  events.flatMap(({ step, scalars }) => scalars.map(({ tag, value }) => [step, tag, value]));

test("checksums are CRC-32C, masked as TensorFlow masks them", () => {
  const vectors: [Uint8Array, number][] = [
    [new Uint8Array(32), 0x8a9136aa],
    [new Uint8Array(32).fill(255), 0x62a8ab43],
    [Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    [new TextEncoder().encode("123456789"), 0xe3069283],
  ];
  for (const [bytes, crc] of vectors) assert.equal(crc32c(bytes), crc);
  // With this every event file of TensorFlow's begins: a first record of 24 bytes.
  assert.equal(maskedCrc32c(Uint8Array.of(24, 0, 0, 0, 0, 0, 0, 0)), 0x224b7fa3);
});

test("a file is read up to the first record that is not whole, or not what was written", () => {
  const records = ["one", "two", "three"].map((text) => encodeRecord(new TextEncoder().encode(text)));
  const file = Buffer.concat(records);
  const read = (bytes: Uint8Array) => [...decodeRecords(bytes)].map((data) => new TextDecoder().decode(data));
  assert.deepEqual(read(file), ["one", "two", "three"]);
  const secondEnds = records[0]!.length + records[1]!.length;
  for (let length = secondEnds; length < file.length; length++) {
    assert.deepEqual(read(file.subarray(0, length)), ["one", "two"], `${length} bytes`);
  }
  for (let i = records[0]!.length; i < secondEnds; i++) {
    const damaged = Uint8Array.from(file);
    damaged[i]! ^= 4;
    assert.deepEqual(read(damaged), ["one"], `byte ${i}`);
  }
});

test("every epoch is there once, though each leader has all of them; the model too", async (context) => {
  const folder = await folderOf(context);
  const first = await lead(folder, "a", 1, epochs(3, 2));
  await first.record({ token: 1, history: epochs(3, 2, 1), weights: () => [], gradients: async () => null });
  // Its clock is behind; what it writes is read after what is there all the same.
  await lead(folder, "b", 2, epochs(3, 2, 1, Number.NaN, 0.1), 5000);
  await lead(folder, "c", 3, epochs(3, 2, 1, Number.NaN, 0.1));
  const train = await eventsIn(join(folder, "train"));
  assert.deepEqual(
    lossesIn(train),
    [3, 2, 1, Number.NaN, Math.fround(0.1)].map((loss, i) => [i + 1, "epoch_loss", loss]),
  );
  assert.deepEqual(
    train.flatMap(({ models, step }) => models.map((json) => [step, json])),
    [[0, model]],
  );
  const validation = lossesIn(await eventsIn(join(folder, "validation")));
  assert.deepEqual(
    validation.map(([step, , value]) => [step, value]),
    [30, 20, 10, Number.NaN, 1].map((loss, i) => [i + 1, loss]),
  );
});

test("of an epoch that a killed leader has half written, the next one writes the whole, once", async (context) => {
  const folder = await folderOf(context);
  await lead(folder, "a", 1, epochs(3, 2, 1));
  const train = join(folder, "train");
  const [name] = await readdir(train);
  const whole = (await readFile(join(train, name!))).length;
  for (let lost = 1; lost < 60; lost += 7) {
    await truncate(join(train, name!), whole - lost);
    await lead(folder, `b${lost}`, 2, epochs(3, 2, 1));
    const steps = lossesIn(await eventsIn(train)).map(([step]) => step);
    assert.deepEqual(steps, [1, 2, 3], `${lost} bytes lost`);
    const [, other] = (await readdir(train)).sort();
    await rm(join(train, other!));
  }
});

test("when the run goes back, what was written after that is taken back before it is written anew", async (context) => {
  const folder = await folderOf(context);
  await lead(folder, "a", 1, epochs(4, 3, 2, 1));
  await lead(folder, "b", 2, epochs(4, 3, 2.5));
  const events = await eventsIn(join(folder, "train"));
  const [back, again, ...after] = events.slice(events.findIndex(({ isRestart }) => isRestart));
  // TensorBoard takes the first one for the beginning.
  assert.deepEqual([back!.step, again!.step, again!.isRestart], [3, 3, true]);
  assert.deepEqual(lossesIn(after), [[3, "epoch_loss", 2.5]]);
  // Whoever leads next sees what TensorBoard sees, and writes only what is new.
  await lead(folder, "c", 3, epochs(4, 3, 2.5, 2));
  assert.equal((await eventsIn(join(folder, "train"))).filter(({ isRestart }) => isRestart).length, 2);
});

test("after it could not write, it begins a new file, and writes what is missing", async (context) => {
  const folder = await folderOf(context);
  const log = await lead(folder, "a", 1, epochs(3));
  const train = join(folder, "train");
  const kept = await readdir(train);
  const bytes = await readFile(join(train, kept[0]!));
  // A file stands where the folder should be.
  await rm(train, { recursive: true });
  await writeFile(train, "");
  const boundary = { token: 1, history: epochs(3, 2), weights: () => [], gradients: async () => null };
  await assert.rejects(log.record(boundary), /EEXIST|ENOTDIR/);
  await rm(train);
  await log.record(boundary);
  assert.ok(bytes.length > 0);
  assert.deepEqual(
    lossesIn(await eventsIn(train)).map(([step]) => step),
    [1, 2],
  );
});

test("a histogram has thirty buckets with all finite values, one for a single value, and none for none", async () => {
  const values = Float32Array.from({ length: 300_001 }, (_, i) => (i % 7) - 3);
  values[5] = Number.NaN;
  values[6] = Number.NEGATIVE_INFINITY;
  const buckets = await histogramOf(values);
  assert.equal(buckets.length, 30);
  assert.deepEqual([buckets[0]![0], buckets[29]![1]], [-3, 3]);
  assert.equal(
    buckets.reduce((sum, [, , count]) => sum + count, 0),
    values.length - 2,
  );
  for (const [i, [begin]] of buckets.entries()) if (i > 0) assert.equal(begin, buckets[i - 1]![1]);
  assert.deepEqual(await histogramOf(Float32Array.of(2, 2, 2)), [[1.5, 2.5, 3]]);
  assert.deepEqual(await histogramOf(Float32Array.of(Number.NaN)), []);
});
