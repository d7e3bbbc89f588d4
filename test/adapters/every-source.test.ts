/** What holds of data from every source, whether it is in memory or on disk. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import { openJobData } from "../../src/adapters/data/open-job-data.ts";
import type { DataSource } from "../../src/core/job.ts";
import { validateJob } from "../../src/core/job-validation.ts";
import {
  arrow,
  cifar,
  csv,
  dataset,
  idx,
  images,
  jsonLines,
  oneHot,
  parquet,
  text,
  tfrecord,
} from "../../src/index.ts";
import type { DescribedDataset } from "../../src/ports/dataset.ts";
import { PreparedData } from "../../src/runtime/prepared-data.ts";
import { idxBytes } from "../fixtures/idx.ts";

const fixtures = fileURLToPath(new URL("../fixtures/formats/", import.meta.url));
let folder = "";
let cacheHome: string | undefined;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "lockstep-every-source-"));
  cacheHome = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = path.join(folder, "cache");
  await cp(fixtures, folder, { recursive: true });
  const lines = Array.from({ length: 12 }, (_, i) => [i, i * i, i % 3]);
  await writeFile(path.join(folder, "a.csv"), `x,z,y\n${lines.map((line) => line.join()).join("\n")}`);
  const objects = lines.map(([x, z, y]) => JSON.stringify({ x: [x, z], y: [y, x] }));
  await writeFile(path.join(folder, "a.jsonl"), objects.join("\n"));
  await writeFile(path.join(folder, "a.txt"), "what is written here has windows");
  await writeFile(path.join(folder, "x.idx"), idxBytes([4, 2], [1, 2, 3, 4, 5, 6, 7, 8]));
  await writeFile(path.join(folder, "y.idx"), idxBytes([4], [3, 1, 0, 2]));
  const records = Array.from({ length: 6 }, (_, i) => [i, ...new Uint8Array(3072).fill(10 * i)]);
  await writeFile(path.join(folder, "a.bin"), Uint8Array.from(records.flat()));
});
after(async () => {
  if (cacheHome === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = cacheHome;
  await rm(folder, { recursive: true });
});

/** Last to first, and one of them twice. */
function everyIndex({ length }: DescribedDataset): number[] {
  return [...Array.from({ length }, (_, i) => length - 1 - i), 1];
}

const own = dataset({ name: "mine", length: 7, get: (i) => ({ features: [i, 2], label: [i % 2, i] }) });
const texts = {
  features: ["hole", "city", "notes"],
  label: "kind",
  columns: { city: "category", notes: { kind: "words", length: 2 }, kind: "category" },
  missing: ["NA"],
} as const;
const tables: readonly DataSource[] = [
  csv("a.csv", { label: "y" }),
  jsonLines({ path: "a.jsonl", features: ["x"], label: "y" }),
  parquet("v2.parquet", { features: ["f32", "list"], label: "nested" }),
  arrow("lz4.arrow", { features: ["nested"], label: "fixed" }),
  tfrecord("gzip.tfrecord.gz", { features: ["pixels"], label: "class" }),
  ...[
    parquet("texts/dictionary.parquet", texts),
    arrow("texts/codes.arrows", texts),
    tfrecord("texts/table.tfrecord", texts),
  ],
];
const sources: readonly DataSource[] = [
  text(["a.txt"], { window: 3, stride: 2 }),
  idx({ features: "x.idx", labels: "y.idx" }),
  images("pictures", { size: [2, 3] }),
  cifar("a.bin", { classes: 10 }),
  own,
  ...tables,
];

test("labels alone are those of whole samples, whatever the source, in memory and on disk", async () => {
  for (const source of sources) {
    for (const memoryBytes of [2 ** 31, 0]) {
      const data = await openDataset(source, folder, { memoryBytes });
      const indices = everyIndex(data);
      assert.deepEqual(data.labels(indices), data.read(indices).label, source.kind);
      assert.deepEqual(data.labels([]), new Float32Array(0));
      for (const wrong of [-1, data.length]) assert.throws(() => data.labels([wrong]), /was asked for; there are/);
    }
  }
});

test("labels of two sources in one are those of both", async () => {
  const data = csv("a.csv", { label: "y" });
  const validation = { by: "files", files: ["a.csv"] } as const;
  const both = await openJobData({ data, validation }, { directory: folder });
  const indices = everyIndex(both);
  assert.equal(indices.length, 25);
  assert.deepEqual(both.labels(indices), both.read(indices).label);
  assert.deepEqual(both.labels([]), new Float32Array(0));
});

test("what looks at labels only reads no features", async () => {
  const lines = csv("a.csv", { label: "y" });
  const job = validateJob({
    name: "a",
    seed: 1,
    data: lines,
    model: () => null,
    preprocess: { label: oneHot(3) },
    compile: { optimizer: { kind: "sgd", learningRate: 0.1 }, loss: "categoricalCrossentropy" },
    validation: { fraction: 0.25, stratify: true },
    classWeight: "balanced",
    batchSize: 2,
    epochs: 1,
  });
  const { columns, ...rest } = await openDataset(lines, folder);
  const data = new PreparedData({ ...rest, read: () => assert.fail("features were read") }, job);
  await data.checkClasses([{ classes: 3 }]);
  assert.equal(data.lackingClasses(), null);
  assert.deepEqual([data.trainingSamples, data.validationSamples], [9, 3]);
});

test("tables that take more memory than they may are decoded once, into the cache, and are the same samples", async () => {
  process.env.XDG_CACHE_HOME = path.join(folder, "another-cache");
  const cached = () => readdir(path.join(folder, "another-cache", "lockstep", "data")).catch(() => [] as string[]);
  for (const source of tables) {
    const inMemory = await openDataset(source, folder);
    const before = (await cached()).length;
    const onDisk = await openDataset(source, folder, { memoryBytes: 100 });
    assert.equal((await cached()).length, before + 1, source.kind);
    const again = await openDataset(source, folder, { memoryBytes: 100 });
    assert.equal((await cached()).length, before + 1);
    const indices = everyIndex(inMemory);
    for (const other of [onDisk, again]) {
      assert.deepEqual([other.digest, other.columns], [inMemory.digest, inMemory.columns]);
      assert.deepEqual(other.read(indices), inMemory.read(indices), source.kind);
    }
  }
});
