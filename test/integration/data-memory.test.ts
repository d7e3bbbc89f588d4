/** How much of the data a process holds in memory is the user's to say, and changes nothing else. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { exitCodes } from "../../src/core/errors.ts";
import { useUser } from "../fixtures/cli.ts";

// `data` needs neither engine nor etcd, so that the cache may be one of these tests alone.
const cache = await mkdtemp(join(tmpdir(), "lockstep-cache-"));
process.env.XDG_CACHE_HOME = cache;
after(() => rm(cache, { recursive: true, force: true }));
const user = useUser();

const job = `import { csv, defineJob } from "lockstep";
export default defineJob({
  name: "large",
  data: csv("large.csv", { label: "y" }),
  model: () => { throw new Error("is not built"); },
  compile: { optimizer: { kind: "sgd", learningRate: 0.1 }, loss: "meanSquaredError" },
  batchSize: 2,
  epochs: 1,
});
`;

test("--data-memory: what takes more is read from disk, and is the same data", async () => {
  const file = await user().write("job.ts", job);
  const names = Array.from({ length: 32 }, (_, i) => `x${i}`);
  // 1.3 MiB of float32.
  const rows = Array.from({ length: 10_000 }, (_, i) => [...names.map((_, j) => (i * 7 + j * 3) % 10), i % 2].join());
  await user().write("large.csv", `${[...names, "y"].join()}\n${rows.join("\n")}\n`);
  const kept = async () => {
    const folder = join(cache, "lockstep", "data");
    return existsSync(folder) ? (await readdir(folder)).length : 0;
  };
  const told = async (...words: string[]) => {
    const { code, stdout, stderr } = await user().run("data", file, "--json", ...words);
    assert.deepEqual([code, stderr], [0, ""]);
    return stdout;
  };
  const inMemory = await told();
  assert.equal(await kept(), 0);
  assert.equal(await told("--data-memory", "2"), inMemory);
  assert.equal(await kept(), 0);
  assert.equal(await told("--data-memory", "1"), inMemory);
  assert.equal(await kept(), 1);
});

test("--data-memory has no meaning below 1", async () => {
  const { code, stderr } = await user().run("data", await user().write("job.ts", job), "--data-memory", "0");
  assert.equal(code, exitCodes.usage);
  assert.match(stderr, /^lockstep: --data-memory is "0"; a whole number of at least 1 was expected\./);
});
