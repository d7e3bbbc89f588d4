/** Data in object storage, on a real S3 server: the same samples as from files, fetched once. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import { readInitialWeights } from "../../src/adapters/fs/initial-weights.ts";
import { entryDirectory } from "../../src/adapters/system/cache.ts";
import { openJobData } from "../../src/adapters/data/open-job-data.ts";
import { cifar, csv, type DataSource, idx, images, jsonLines, parquet, text } from "../../src/index.ts";
import type { DescribedDataset } from "../../src/ports/dataset.ts";
import { type Outcome, useUser } from "../fixtures/cli.ts";
import { idxBytes } from "../fixtures/idx.ts";
import { bucket, startTestS3, type TestS3 } from "../fixtures/s3.ts";
import { smallData, smallJob } from "../fixtures/small-job.ts";

const started = await startTestS3();
const skip = "reason" in started ? started.reason : false;
// Where there is none, nothing that looks at it is run.
const s3 = started as TestS3;
if (!skip) Object.assign(process.env, s3.environment);
const limit = { timeout: 300_000 };
const formats = fileURLToPath(new URL("../fixtures/formats/", import.meta.url));

describe("data in object storage", { skip }, () => {
  const user = useUser();
  const place = `s3://${bucket}/sets/one`;
  let cacheHome: string | undefined;
  let client: S3Client;
  /** Objects that were given since the last look: keys, in order. */
  const given: string[] = [];

  before(async () => {
    cacheHome = process.env.XDG_CACHE_HOME;
    client = new S3Client({ forcePathStyle: true, region: "us-east-1" });
    s3.decide((request) => {
      const key = /^GET \/[^/?]+\/([^?]+)/.exec(request)?.[1];
      if (key !== undefined) given.push(decodeURIComponent(key));
      return "passes";
    });
  });
  after(async () => {
    setCache(cacheHome);
    await removeFetched();
    client.destroy();
    await s3.stop();
  });

  function setCache(home: string | undefined): void {
    if (home === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = home;
  }

  /** The same bytes as a file of the user's folder and as an object. */
  async function put(name: string, content: string | Uint8Array): Promise<void> {
    const file = user().at(name);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content);
    const Key = `sets/one/${name}`;
    await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: await readFile(file) }));
  }

  /** What the user's commands fetched into the cache that tests share. */
  async function removeFetched(): Promise<void> {
    const folder = entryDirectory("data");
    for (const name of await readdir(folder).catch(() => [])) {
      const record = await readFile(join(folder, name, "entry.json"), "utf8").catch(() => "");
      if (record.includes(place)) await rm(join(folder, name), { recursive: true });
    }
  }

  const taken = () => given.splice(0).sort();
  const indicesOf = ({ length }: DescribedDataset) => Array.from({ length }, (_, i) => length - 1 - i);

  /** Here and there. */
  async function bothOf(at: (located: (path: string) => string) => DataSource) {
    const here = await openDataset(
      at((path) => path),
      user().at("."),
    );
    const there = await openDataset(
      at((path) => `${place}/${path}`),
      "/nowhere",
    );
    assert.equal(there.digest, here.digest);
    assert.deepEqual(there.read(indicesOf(there)), here.read(indicesOf(here)));
    return there;
  }

  test("weights to begin with, in every form of file, are fetched once and are those of the file", limit, async () => {
    setCache(user().at("cache-weights"));
    const files = fileURLToPath(new URL("../fixtures/keras/files/", import.meta.url));
    for (const name of ["whole3.h5", "whole3.keras"]) {
      await put(`weights/${name}`, gunzipSync(await readFile(join(files, `${name}.gz`))));
    }
    const floats = Buffer.from(Float32Array.of(1, 2, 3).buffer);
    const tensor = { name: "dense/kernel", shape: [3, 1] };
    const header = Buffer.from(
      JSON.stringify({ [tensor.name]: { dtype: "F32", shape: tensor.shape, data_offsets: [0, 12] } }),
    );
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(header.length));
    await put("weights/base.safetensors", Buffer.concat([size, header, floats]));
    const manifest = [{ paths: ["shard.bin"], weights: [{ ...tensor, dtype: "float32" }] }];
    await put("weights/model.json", JSON.stringify({ weightsManifest: manifest }));
    await put("weights/shard.bin", floats);
    for (const name of ["whole3.h5", "whole3.keras", "base.safetensors", "model.json"]) {
      taken();
      const here = await readInitialWeights(`weights/${name}`, user().at("."));
      const there = await readInitialWeights(`${place}/weights/${name}`, "/nowhere");
      assert.ok(here.tensors.length > 0);
      assert.deepEqual([there.digest, there.layers, there.unnamed], [here.digest, here.layers, here.unnamed], name);
      assert.equal((await readInitialWeights(`${place}/weights/${name}`, "/nowhere")).digest, here.digest);
      const fetched = name === "model.json" ? ["model.json", "shard.bin"] : [name];
      assert.deepEqual(
        taken(),
        fetched.map((one) => `sets/one/weights/${one}`),
      );
    }
    await put("weights/damaged.h5", "no HDF5");
    const refused = (name: string) => readInitialWeights(`${place}/weights/${name}`, "/nowhere");
    await assert.rejects(refused("damaged.h5"), {
      code: "invalid-data",
      message: /^initialWeights: s3:\/\/.*damaged\.h5 cannot be read: it /,
    });
    await assert.rejects(refused("none.h5"), { code: "invalid-data", message: /^There is no object s3:.*none\.h5/ });
    await assert.rejects(refused("*.h5"), { message: /^initialWeights: s3:.* matches 2 objects; expected one/ });
    setCache(cacheHome);
  });

  test("every format gives the same samples and digest as from files, and is fetched once", limit, async () => {
    setCache(user().at("cache"));
    await put("part-1.csv", "a,y\n1,2\n");
    await put("part-2.csv", "a,y\n3,4\n5,6\n");
    await put("part-folder/part-3.csv", "other");
    await put(".part-4.csv", "hidden");
    await put("a.jsonl", '{"a":[1,2],"y":3}\n');
    await put("a.txt", "a text with windows");
    await put("x-1.idx", idxBytes([2, 2], [1, 2, 3, 4]));
    await put("y-1.idx", idxBytes([2], [1, 0]));
    await put("a.bin", Uint8Array.from([3, ...new Uint8Array(3072).fill(7)]));
    await put("v2.parquet", await readFile(join(formats, "v2.parquet")));
    for (const name of await readdir(join(formats, "pictures"))) {
      for (const file of await readdir(join(formats, "pictures", name))) {
        await put(`pictures/${name}/${file}`, await readFile(join(formats, "pictures", name, file)));
      }
    }
    taken();
    const sources: ((at: (path: string) => string) => DataSource)[] = [
      (at) => csv(at("part-*.csv"), { label: "y" }),
      (at) => jsonLines({ path: at("a.jsonl"), features: ["a"], label: "y" }),
      (at) => text([at("a.txt"), at("a.t*")], { window: 3, stride: 1 }),
      (at) => idx({ features: at("x-*.idx"), labels: at("y-*.idx") }),
      (at) => cifar(at("*.bin"), { classes: 10 }),
      (at) => parquet(at("v2.parquet"), { features: ["f32", "list"], label: "nested" }),
      (at) => images(at("pictures"), { size: [3, 4] }),
      (at) => images(at("pictures/*"), { size: [3, 4] }),
    ];
    for (const source of sources) {
      const there = await bothOf(source);
      assert(
        there.files.every((file) => file.startsWith(`${place}/`)),
        there.files.join(),
      );
    }
    assert.deepEqual((await bothOf(sources[0]!)).files, [`${place}/part-1.csv`, `${place}/part-2.csv`]);
    const fetched = taken();
    assert(fetched.includes("sets/one/part-2.csv") && !fetched.some((key) => /part-3|part-4/.test(key)));
    assert.equal(new Set(fetched).size, fetched.length, "nothing is fetched twice");
    // One memory bound or another, and another worker of this machine: all of it is there.
    for (const source of sources) await bothOf(source);
    assert.deepEqual(taken(), []);
    // A changed object is noticed, and fetched alone.
    const before = await bothOf(sources[0]!);
    await put("part-2.csv", "a,y\n3,4\n5,7\n");
    taken();
    const after = await bothOf(sources[0]!);
    assert.deepEqual(taken(), ["sets/one/part-2.csv"]);
    assert.notEqual(after.digest, before.digest);
    assert.deepEqual([...after.labels([0, 1, 2])], [2, 4, 7]);
    const validation = { by: "files", files: [`${place}/part-*.csv`] } as const;
    const data = csv(`${place}/part-1.csv`, { label: "y" });
    const both = await openJobData({ data, validation }, { directory: "/nowhere" });
    assert.deepEqual([both.own, both.length], [1, 4]);
  });

  test("what cannot be had is one sentence, with what to do, before anything is trained", limit, async () => {
    setCache(user().at("cache"));
    await put("bad.csv", "a,y\n1,2\nx,3\n");
    const says = async (path: string, message: RegExp, hint: RegExp) => {
      await assert.rejects(
        openDataset(csv(path, { label: "y" }), "/nowhere"),
        (error: Error & { code?: string; hint?: string }) => {
          assert.equal(error.code, "invalid-data");
          assert.match(error.message, message);
          assert.match(error.hint ?? "", hint);
          return true;
        },
      );
    };
    await says(`${place}/none.csv`, /^There is no object s3:\/\/\S+\/none\.csv\.$/, /"\*"/);
    await says(`${place}/bad.cs`, /^There is no object s3:\/\/\S+\/bad\.cs\.$/, /"\*"/);
    await says(`${place}/*.nothing`, /^No object matches s3:\/\/\S+\/\*\.nothing\.$/, /^$/);
    await says(
      "s3://no-such-bucket/a.csv",
      /^Cannot read s3:\/\/no-such-bucket\/a\.csv: there is no bucket/,
      /Name the bucket/,
    );
    await says(`s3://${bucket}`, /names no object; expected s3:\/\/BUCKET\/KEY/, /As in/);
    await says(`s3://${bucket}/a*/b.csv`, /has a "\*" in the name of a folder/, /last part/);
    await says(`${place}/bad.csv`, /^s3:\/\/\S+\/sets\/one\/bad\.csv, line 3, column "a" is "x"/, /category/);
    const missing = images(`${place}/nothing`, { size: [2, 2] });
    await assert.rejects(openDataset(missing, "/nowhere"), {
      code: "invalid-data",
      message: /No object is in a folder that/,
    });
    await put("broken/a/1.png", "no picture");
    await put("broken/b/1.png", "no picture");
    const broken = images(`${place}/broken`, { size: [2, 2] });
    await assert.rejects(openDataset(broken, "/nowhere"), {
      message: /^s3:\/\/\S+\/sets\/one\/broken\/[ab]\/1\.png is neither/,
    });
    s3.decide(() => "denied");
    await says(`${place}/bad.csv`, /: http:\/\/\S+ denies the access \(AccessDenied, HTTP 403\)\.$/, /s3:ListBucket/);
    s3.decide(() => "passes");
  });

  test("a job trains on objects to the bits that it trains to on files", limit, async () => {
    await put("small.csv", smallData(60));
    await user().write("small.ts", smallJob());
    await user().write("there.ts", smallJob().replaceAll('"small.csv"', `"${place}/small.csv"`));
    const [here, there] = [await launch("small.ts", "here"), await launch("there.ts", "there")];
    assert.equal(there, here);
    const shown = await user().run("data", "there.ts");
    assert.equal(shown.code, 0, shown.stderr);
    assert.ok(shown.stdout.includes(`${place}/small.csv`), shown.stdout);
  });

  async function launch(job: string, directory: string): Promise<unknown> {
    const outcome: Outcome = await user().run(
      ...["launch", job, "--json", "--workers", "2", "--epochs", "2", "--directory", user().at(directory)],
    );
    assert.equal(outcome.code, 0, outcome.stderr);
    return (JSON.parse(outcome.stdout.trim().split("\n").at(-1)!) as { weightsDigest: string }).weightsDigest;
  }
});
