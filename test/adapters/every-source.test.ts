/** What holds of data from every source, whether it is in memory or on disk. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import type { DataSource } from "../../src/core/job.ts";
import { arrow, parquet, tfrecord } from "../../src/index.ts";
import type { DescribedDataset } from "../../src/ports/dataset.ts";

const fixtures = fileURLToPath(new URL("../fixtures/formats/", import.meta.url));
let folder = "";
let cacheHome: string | undefined;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "lockstep-every-source-"));
  cacheHome = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = path.join(folder, "cache");
  await cp(fixtures, folder, { recursive: true });
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

const tables: readonly DataSource[] = [
  parquet("v2.parquet", { features: ["f32", "list"], label: "nested" }),
  arrow("lz4.arrow", { features: ["nested"], label: "fixed" }),
  tfrecord("gzip.tfrecord.gz", { features: ["pixels"], label: "class" }),
];
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
