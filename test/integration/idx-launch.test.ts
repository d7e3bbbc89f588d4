/** The example that reads IDX, on a few hundred digits. */
import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { type Line, useUser } from "../fixtures/cli.ts";
import { idxBytes } from "../fixtures/idx.ts";

const user = useUser();
const mnistJob = fileURLToPath(new URL("../../examples/mnist.ts", import.meta.url));

/** Rows of 64 counts up to 16 and a class, as gzip IDX files of 8 × 8 bytes. */
async function writeDigits(source: string, name: string, count: number): Promise<void> {
  const text = await readFile(new URL(`../../examples/data/${source}`, import.meta.url), "utf8");
  const rows = text
    .trim()
    .split("\n")
    .slice(1, count + 1)
    .map((line) => line.split(",").map(Number));
  assert.equal(rows.length, count);
  const images = rows.flatMap((row) => row.slice(0, 64).map((value) => Math.min(255, value * 16)));
  const write = (file: string, bytes: Uint8Array) => writeFile(user().at("digits", file), gzipSync(bytes));
  await write(`${name}-images-idx3-ubyte.gz`, idxBytes([count, 8, 8], images));
  await write(
    `${name}-labels-idx1-ubyte.gz`,
    idxBytes(
      [count],
      rows.map((row) => row[64]!),
    ),
  );
}

test("the mnist example learns from IDX files on three workers", { timeout: 240_000 }, async () => {
  await mkdir(user().at("digits"));
  await writeDigits("optdigits.tra", "train", 600);
  await writeDigits("optdigits.tes", "t10k", 200);
  const words = ["--data", user().at("digits"), "--workers", "3", "--epochs", "3", "--json"];
  const outcome = await user().run("launch", mnistJob, ...words, "--directory", user().at("runs"));
  assert.equal(outcome.code, 0, outcome.stderr);
  const end = JSON.parse(outcome.stdout.trim().split("\n").at(-1)!) as Line;
  const accuracies = (end.history as { accuracy: number }[]).map(({ accuracy }) => accuracy);
  assert(accuracies[2]! > accuracies[0]! && accuracies[2]! > 0.2, `${accuracies}`);
  assert.ok(end.test, "there is a result on the test data");
});
