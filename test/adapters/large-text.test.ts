/** Text that is larger than memory may hold, and in more than one part: the same samples, read from the cache. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import { RandomStream } from "../../src/core/random.ts";
import { bytePair, text } from "../../src/index.ts";
import type { DescribedDataset, OpenOptions } from "../../src/ports/dataset.ts";

const window = 7;
/** Files are read in parts of this. */
const partBytes = 2 ** 20;
const texts = ["large-1.txt", "large-2.txt"] as const;

let folder = "";
const cacheHome = process.env.XDG_CACHE_HOME;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "lockstep-text-"));
  const random = new RandomStream(1, "report");
  const words = ["the ", "low", "lower ", "é", "→", "😀", "日本 ", "12", "\n", "  ", "x".repeat(300)];
  const some = (bytes: number) => {
    const parts: string[] = [];
    for (let size = 0; size < bytes; size += Buffer.byteLength(parts.at(-1)!)) {
      parts.push(words[random.nextBelow(words.length)]!);
    }
    return parts.join("");
  };
  await writeFile(join(folder, texts[0]), `\uFEFF${some(2.5 * partBytes)}`);
  await writeFile(join(folder, texts[1]), some(partBytes / 2));
});
after(async () => {
  if (cacheHome === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = cacheHome;
  await rm(folder, { recursive: true, force: true });
});

async function useCache(name: string): Promise<() => Promise<number>> {
  process.env.XDG_CACHE_HOME = join(folder, name);
  await mkdir(join(folder, name));
  return async () => (await readdir(join(folder, name, "lockstep", "data")).catch(() => [])).length;
}

/** Features and labels of every so many samples. */
function samplesOf(data: DescribedDataset) {
  const indices = Array.from({ length: Math.floor(data.length / 61) }, (_, i) => i * 61);
  const { features, label } = data.read(indices);
  assert.deepEqual(data.labels(indices), label);
  return { features, label };
}

test("characters: each is where it is in the file, and all are read from disk where memory may not hold them", async () => {
  const kept = await useCache("characters");
  const source = text([...texts], { window, stride: 1 });
  const data = await openDataset(source, folder, { memoryBytes: 2 ** 31 });
  const units = await Promise.all(
    texts.map(async (name) => (await readFile(join(folder, name), "utf8")).replace(/^\uFEFF/, "")),
  );
  assert.equal(data.length, units[0]!.length + units[1]!.length - 2 * window);
  for (const index of [0, 1, partBytes / 3, units[0]!.length - window - 1]) {
    const { features, label } = data.read([index]);
    assert.equal(String.fromCharCode(...features, ...label), units[0]!.slice(index, index + window + 1));
  }
  assert.equal(await kept(), 0);
  for (let start = 0; start < 2; start++) {
    const onDisk = await openDataset(source, folder, { memoryBytes: partBytes });
    assert.deepEqual([onDisk.digest, onDisk.length, onDisk.files], [data.digest, data.length, data.files]);
    assert.deepEqual(samplesOf(onDisk), samplesOf(data));
    assert.equal(await kept(), 1);
  }
});

test("pieces: the same are learned and found, and those that are given make other rows", async () => {
  const kept = await useCache("pieces");
  const source = text([...texts], { window, stride: 3, tokens: bytePair({ size: 300 }) });
  const open = (memoryBytes: number, more: OpenOptions = {}) =>
    openDataset(source, folder, { memoryBytes, learnFraction: 0.4, ...more });
  const data = await open(2 ** 31);
  const mergesOf = ({ columns }: DescribedDataset) => columns.features[0]!.merges!;
  assert.ok(mergesOf(data).length > 20);
  assert.equal(await kept(), 1, "what takes long to be learned is kept");
  for (let start = 0; start < 2; start++) {
    const onDisk = await open(partBytes);
    assert.deepEqual([onDisk.digest, mergesOf(onDisk)], [data.digest, mergesOf(data)]);
    assert.deepEqual(samplesOf(onDisk), samplesOf(data));
    assert.equal(await kept(), 1);
  }
  const merges = [[0x78, 0x78] as const];
  const other = await open(partBytes, { merges });
  assert.deepEqual(mergesOf(other), merges);
  assert.deepEqual(samplesOf(other), samplesOf(await open(2 ** 31, { merges })));
  assert.equal(await kept(), 2);
});

test("what is no UTF-8 is refused with its place in the file, in whichever part it is", async () => {
  const good = Buffer.from("é".repeat(partBytes));
  for (const [offset, byte] of [
    [partBytes + 7, 0xff],
    [partBytes - 1, 0x41],
    [good.length - 1, 0xc3],
  ] as const) {
    const bytes = Buffer.from(good);
    bytes[offset] = byte;
    await writeFile(join(folder, "bad.txt"), bytes);
    const opened = openDataset(text("bad.txt", { window, stride: 1 }), folder);
    // The character begins before the byte that cannot be in it.
    const at = offset % 2 === 0 ? offset : offset - 1;
    await assert.rejects(opened, { message: new RegExp(`bad\\.txt is not UTF-8: the byte 0x.. at offset ${at} `) });
  }
});
