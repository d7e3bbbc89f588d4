/** What `npm run bench` makes of its words; the benchmarks themselves are not tests. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { exitCodes } from "../../src/core/errors.ts";

const main = fileURLToPath(new URL("../../bench/main.ts", import.meta.url));

function bench(...words: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ["--import", "tsx", main, ...words], (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout, stderr });
    });
  });
}

test("help lists the benchmarks, before a name and after it", { timeout: 60_000 }, async () => {
  for (const words of [["--help"], ["recovery", "--help"], []]) {
    const { code, stdout } = await bench(...words);
    assert.equal(code, 0);
    assert.match(stdout, /^Usage: npm run bench -- NAME .*\n\n {2}recovery .*\n {2}exactness /);
  }
});

test("wrong words are one sentence and the code for it, and nothing is measured", { timeout: 60_000 }, async () => {
  const cases: [words: string[], says: RegExp][] = [
    [["recovery", "--runs", "0"], /^--runs is "0"; a whole number from 1 was expected\.\n$/],
    [["recovery", "--rums", "3"], /'--rums'/],
    [["allreduce", "--worlds", "2,1"], /^--worlds is "1"; a whole number from 2 was expected\.\n$/],
    [
      ["step", "--models", "step-mlp"],
      /^--models has "step-mlp"; step-mlp512, step-mlp2048, step-cnn were expected\.\n$/,
    ],
    [["recovry"], /^There is no benchmark "recovry"; there are .*\n {2}Did you mean recovery\?\n$/],
  ];
  for (const [words, says] of cases) {
    const { code, stdout, stderr } = await bench(...words);
    assert.deepEqual([code, stdout], [exitCodes.usage, ""], words.join(" "));
    assert.match(stderr, says);
  }
});
