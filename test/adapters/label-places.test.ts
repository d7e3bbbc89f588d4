/** Where a label is that is none of the classes: told with its file and line, whatever lies before it. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import { openJobData } from "../../src/adapters/data/open-job-data.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { validateJob } from "../../src/core/job-validation.ts";
import { csv, dataset, jsonLines, oneHot, type DataSource, type JobDefinition } from "../../src/index.ts";
import { PreparedData } from "../../src/runtime/prepared-data.ts";

let folder = "";
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "lockstep-label-places-"));
  await writeFile(path.join(folder, "p-1.csv"), 'text,a,y\none,1,0\n"two\nlines",2,1\nthree,3,2\n');
  await writeFile(path.join(folder, "p-2.csv"), 'text,a,y\n"two\n\nmore",4,0\nfive,5,7\n');
  await writeFile(path.join(folder, "fine.csv"), "text,a,y\none,1,0\ntwo,2,1\n");
  const lines = [0, 1, 2, 0.5].map((y, a) => JSON.stringify({ a, y }));
  await writeFile(path.join(folder, "lines.jsonl"), lines.join("\n"));
});
after(() => rm(folder, { recursive: true }));

const table = (file: string) => csv(file, { label: "y", ignore: ["text"] });

async function prepared(data: DataSource, more: Partial<JobDefinition> = {}): Promise<PreparedData> {
  const job = validateJob({
    ...{ name: "places", data, model: () => null, batchSize: 1, epochs: 1 },
    compile: { optimizer: { kind: "sgd", learningRate: 0.1 }, loss: "sparseCategoricalCrossentropy" },
    ...more,
  });
  return new PreparedData(await openJobData(job, { directory: folder }), job);
}

const refused = (end: string) => (error: unknown) => {
  assert.ok(error instanceof LockstepError && error.code === "invalid-data", String(error));
  assert.ok(error.message.endsWith(`${end}.`), error.message);
  return true;
};

test("a label outside the classes is told with its file and line, also behind cells of several lines and in other files", async () => {
  const at = (file: string, line: number) =>
    refused(`after pre-processing, and the model has the classes 0 to 2: ${path.join(folder, file)}, line ${line}`);
  const classes = [{ classes: 3 }];
  await assert.rejects((await prepared(table("p-*.csv"))).checkClasses(classes), at("p-2.csv", 5));
  await assert.rejects(
    (await prepared(jsonLines({ path: "lines.jsonl", features: ["a"], label: "y" }))).checkClasses(classes),
    at("lines.jsonl", 4),
  );
  const held = await prepared(table("fine.csv"), { validation: { files: ["p-1.csv", "p-2.csv"] } });
  await assert.rejects(held.checkClasses(classes), at("p-2.csv", 5));
  const own = dataset({ name: "own", length: 4, get: (i) => ({ features: [i], label: i }) });
  await assert.rejects((await prepared(own)).checkClasses(classes), refused("sample 3, counted from 0"));
});

test("yes or no is a label from 0 to 1", async () => {
  const yesOrNo = [{ classes: "yes or no" }] as const;
  await assert.rejects(
    (await prepared(table("p-*.csv"))).checkClasses(yesOrNo),
    /^LockstepError: A label is 2 after pre-processing, and binaryCrossentropy takes 0 to 1: .*\.csv, line \d+\.$/,
  );
  const own = dataset({ name: "own", length: 4, get: (i) => ({ features: [i], label: i / 3 }) });
  await (await prepared(own)).checkClasses(yesOrNo);
});

test("test data with labels outside the classes is refused before training too", async () => {
  const data = await prepared(table("fine.csv"));
  const other = await openDataset(table("p-*.csv"), folder);
  await data.checkClasses([{ classes: 8 }], other);
  await assert.rejects(data.checkClasses([{ classes: 3 }], other), refused("p-2.csv, line 5"));
  const encoded = await prepared(table("fine.csv"), { preprocess: { label: oneHot(3) } });
  await assert.rejects(encoded.checkClasses([], other), /oneHot\(3\) in preprocess\.label met the value 7/);
});
