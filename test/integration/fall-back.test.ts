/** Where WebAssembly lacks a kernel the JavaScript engine takes its place, and that is not seen in a checkpoint. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { useUser } from "../fixtures/cli.ts";
import { plainEnvironment, runFixture } from "../fixtures/machine.ts";
import { smallData, smallJob } from "../fixtures/small-job.ts";

const user = useUser();

/** WebAssembly has no gradient of a convolution's kernel. One layer has a name, as others find theirs by counting. */
const job = smallJob({
  preprocess: "features: reshape([3, 2, 1]),",
  layers: `[
    tf.layers.conv2d({ filters: 2, kernelSize: 2, inputShape: [...features] }),
    tf.layers.batchNormalization(),
    tf.layers.flatten(),
    tf.layers.dense({ units: 4, name: "hidden" }),
    tf.layers.dense({ units: 3, activation: "softmax" }),
  ]`,
});

test("a model has the same names and weights whether its engine was there at once or took another's place", async () => {
  const path = await user().write("small.ts", job);
  await user().write("small.csv", smallData(40));
  const open = async (kind: string) => {
    const { stdout } = await runFixture("opened-model.ts", [path, user().folder, kind], plainEnvironment());
    return JSON.parse(stdout) as { kind: string; names: string[]; digest: string };
  };
  const [direct, instead] = await Promise.all([open("cpu"), open("wasm")]);
  assert.deepEqual([direct.kind, instead.kind], ["cpu", "cpu"], "WebAssembly lacks a kernel of it");
  assert.deepEqual(instead, direct);
});
