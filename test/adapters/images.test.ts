/** Pictures and CIFAR records: compared with Pillow (test/fixtures/formats/reference.py), and with records written here. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { cifar, type DataSource, images } from "../../src/index.ts";
import { Fuzz } from "../fixtures/fuzz.ts";

const fixtures = fileURLToPath(new URL("../fixtures/formats/", import.meta.url));
let folder: string;
const cacheBefore = process.env.XDG_CACHE_HOME;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "lockstep-images-"));
  process.env.XDG_CACHE_HOME = path.join(folder, "cache");
});

after(async () => {
  if (cacheBefore === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = cacheBefore;
  await rm(folder, { recursive: true });
});

async function errorOf(source: DataSource): Promise<string> {
  const error = await openDataset(source, folder).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof LockstepError && error.code === "invalid-data", String(error));
  return error.message.replaceAll(`${folder}/`, "");
}

test("pictures have Pillow's pixels, classes the sorted names of their folders, in 1, 3 and 4 channels", async () => {
  const expected: Record<string, number[]> = JSON.parse(await readFile(path.join(fixtures, "pictures.json"), "utf8"));
  const names = ["b.png", "c.png", "e.png", "f.jpg", "a.png", "d.png"];
  for (const name of names.filter((one) => one !== "f.jpg")) {
    const source = path.join(fixtures, "pictures", "ad".includes(name[0]!) ? "tulip" : "rose", name);
    for (const kind of ["rose", "tulip"]) {
      await mkdir(path.join(folder, name, kind), { recursive: true });
      await copyFile(source, path.join(folder, name, kind, name));
    }
    const data = await openDataset(images(name, { size: [4, 5] }), folder);
    assert.deepEqual([data.length, data.features.shape], [2, [4, 5, 3]]);
    assert.deepEqual(Array.from(data.read([1]).features), expected[name], name);
    assert.deepEqual(Array.from(data.read([0, 1]).label), [0, 1]);
    const grey = await openDataset(images(name, { size: [4, 5], channels: 1 }), folder);
    const shades = Array.from({ length: 20 }, (_, i) => {
      const [red, green, blue] = expected[name]!.slice(3 * i, 3 * i + 3) as [number, number, number];
      return (19_595 * red + 38_470 * green + 7_471 * blue + 32_768) >> 16;
    });
    assert.deepEqual(Array.from(grey.read([0]).features), shades, name);
    const opaque = (await openDataset(images(name, { size: [4, 5], channels: 4 }), folder)).read([0]).features;
    assert.deepEqual(Array.from(opaque.filter((_, i) => i % 4 !== 3)), expected[name], name);
  }
  const all = await openDataset(images("pictures/*", { size: [16, 16] }), fixtures);
  assert.deepEqual(all.columns.label, { name: "class", type: "category", shape: [], texts: ["rose", "tulip"] });
  assert.deepEqual(Array.from(all.read([0, 1, 2, 3, 4, 5]).label), [0, 0, 0, 0, 1, 1]);
  // A model that was trained with more classes keeps its own numbers for them.
  const dictionaries = { class: ["daisy", "rose", "tulip"] };
  const other = await openDataset(images("pictures", { size: [2, 2] }), fixtures, { dictionaries });
  assert.deepEqual(Array.from(other.read([0, 4]).label), [1, 2]);
  const unknown = openDataset(images("pictures", { size: [2, 2] }), fixtures, { dictionaries: { class: ["rose"] } });
  await assert.rejects(unknown, /has the class "tulip", which the model was not trained with; expected "rose"\./);
  // Decoders of JPEG may differ by little in each pixel.
  const jpeg = all.read([names.indexOf("f.jpg")]).features;
  const apart = jpeg.map((value, i) => Math.abs(value - expected["f.jpg"]![i]!));
  assert.ok(Math.max(...apart) <= 4, `${Math.max(...apart)}`);
});

test("pixels are the same from memory alone, through the cache into memory, and in the cache; so is the digest", async () => {
  const root = path.join(folder, "many");
  await cp(path.join(fixtures, "pictures"), root, { recursive: true });
  // As many as are worth the cache.
  for (let i = 0; i < 510; i++) await copyFile(path.join(root, "rose", "b.png"), path.join(root, "tulip", `${i}.png`));
  const source = images("many", { size: [3, 3] });
  const entries = () => readdir(path.join(folder, "cache", "lockstep", "data")).catch(() => []);
  const earlier = (await entries()).length;
  const cacheHome = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = path.join(root, "rose", "b.png"); // where nothing can be written
  const first = await openDataset(source, folder);
  process.env.XDG_CACHE_HOME = cacheHome;
  assert.equal((await entries()).length, earlier);
  const indices = Array.from({ length: 516 }, (_, i) => 515 - i);
  // Written to the cache, found there, and read in place.
  for (const memoryBytes of [2 ** 31, 2 ** 31, 0]) {
    const again = await openDataset(source, folder, { memoryBytes });
    assert.equal((await entries()).length, earlier + 1);
    assert.deepEqual([again.digest, again.length], [first.digest, 516]);
    assert.deepEqual(again.read(indices), first.read(indices));
  }
  await copyFile(path.join(root, "rose", "c.png"), path.join(root, "tulip", "7.png"));
  const other = await openDataset(source, folder, { memoryBytes: 0 });
  assert.notEqual(other.digest, first.digest);
});

test("pixels in the cache that are not those that were written are decoded anew", async () => {
  await cp(path.join(folder, "many"), path.join(folder, "damaged"), { recursive: true });
  const source = images("damaged", { size: [7, 7] });
  const cache = path.join(folder, "cache", "lockstep", "data");
  const earlier = await readdir(cache);
  const first = await openDataset(source, folder);
  const [entry] = (await readdir(cache)).filter((name) => !earlier.includes(name));
  const rows = path.join(cache, entry!, "rows");
  const bytes = await readFile(rows);
  bytes[1000]! ^= 1;
  await writeFile(rows, bytes);
  const again = await openDataset(source, folder);
  const indices = Array.from({ length: first.length }, (_, i) => i);
  assert.deepEqual(again.read(indices), first.read(indices));
  assert.notDeepEqual(await readFile(rows), bytes);
});

test("a picture that changes while it is read is refused: its pixels would be kept as another's", async () => {
  const named = (folderName: string, name: string) => path.join(folder, "pipes", folderName, name);
  const [one, two] = [named("a", "1.png"), named("b", "2.png")];
  for (const pipe of [one, two]) {
    await mkdir(path.dirname(pipe), { recursive: true });
    await promisify(execFile)("mkfifo", [pipe]);
  }
  const opening = errorOf(images("pipes", { size: [2, 2] }));
  const [before, after] = await Promise.all(
    ["b.png", "c.png"].map((name) => readFile(path.join(fixtures, "pictures", "rose", name))),
  );
  // Each is read twice, one after the other the first time: when the second is opened, the first has been read.
  for (const [pipe, bytes] of [
    [one, before],
    [two, before],
    [one, after],
    [two, before],
  ] as const) {
    await writeFile(pipe, bytes!);
  }
  assert.equal(await opening, "pipes/a/1.png was changed while the pictures were read.");
});

test("what is no picture is refused with its name, a damaged one too", async (context) => {
  const write = async (name: string, bytes: string | Uint8Array) => {
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
    await writeFile(path.join(folder, name), bytes);
  };
  await write("one/a/x.png", "");
  assert.equal(
    await errorOf(images("one", { size: [2, 2] })),
    'one has one folder, "a"; expected one for each class, with its pictures.',
  );
  await write("text/a/x.txt", "");
  await write("text/b/x.png", "");
  assert.equal(
    await errorOf(images("text", { size: [2, 2] })),
    "text/a/x.txt is no picture; expected PNG or JPEG files.",
  );
  await write("text/a/x.txt", "");
  await rm(path.join(folder, "text", "a", "x.txt"));
  assert.match(await errorOf(images("text", { size: [2, 2] })), /^text\/a has no pictures;/);
  assert.match(await errorOf(images("none/*", { size: [2, 2] })), /^No folder matches none\/\*/);
  const whole = await readFile(path.join(fixtures, "pictures", "rose", "f.jpg"));
  const fuzz = Fuzz.begin(context);
  await write("cut/b/x.jpg", whole);
  let refused = 0;
  for (let n = 0; n < 60; n++) {
    await write(
      "cut/a/x.jpg",
      n % 2 === 0 ? whole.subarray(0, 20 + fuzz.below(whole.length - 40)) : fuzz.input([whole]),
    );
    try {
      await openDataset(images("cut", { size: [2, 2] }), folder);
    } catch (error) {
      assert.ok(error instanceof LockstepError && error.code === "invalid-data", `input ${n}: ${error}`);
      refused++;
    }
  }
  assert.ok(refused >= 30, `${refused} of 60 were refused`);
});

test("CIFAR's records become pixels with their colours together, from memory and from files", async () => {
  const record = (labels: readonly number[], seed: number) =>
    Uint8Array.from([...labels, ...Array.from({ length: 3072 }, (_, i) => (i * 7 + seed) % 256)]);
  const write = (name: string, ...records: Uint8Array[]) => writeFile(path.join(folder, name), Buffer.concat(records));
  await write("batch_1.bin", record([3], 1), record([9], 2));
  await write("batch_2.bin", record([0], 3));
  await write("fine.bin", record([19, 99], 4));
  for (const memoryBytes of [2 ** 20, 2 * 3073, 0]) {
    const data = await openDataset(cifar("batch_*.bin", { classes: 10 }), folder, { memoryBytes });
    assert.deepEqual([data.length, data.features.shape], [3, [32, 32, 3]]);
    const { features, label } = data.read([2, 0, 1]);
    assert.deepEqual(Array.from(label), [0, 3, 9]);
    const pixel = (sample: number, at: number) => Array.from(features.subarray(sample * 3072 + at * 3).subarray(0, 3));
    const wanted = (seed: number, at: number) => [0, 1, 2].map((colour) => ((colour * 1024 + at) * 7 + seed) % 256);
    for (const [sample, seed] of [3, 1, 2].entries()) {
      for (const at of [0, 33, 1023]) assert.deepEqual(pixel(sample, at), wanted(seed, at));
    }
  }
  const label = async (classes: 20 | 100) =>
    (await openDataset(cifar("fine.bin", { classes }), folder)).read([0]).label[0];
  assert.deepEqual([await label(20), await label(100)], [19, 99]);
  assert.match(
    await errorOf(cifar("fine.bin", { classes: 10 })),
    /^fine\.bin has 3074 bytes; expected whole records of 3073/,
  );
  await write("wrong.bin", record([3], 1), record([10], 1));
  assert.equal(
    await errorOf(cifar("wrong.bin", { classes: 10 })),
    "wrong.bin, record 1 has the label 10; expected 0 to 9.",
  );
});
