/** Files that Keras wrote: what their weights are called here, that they do the same, and what is said of those that do not. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import type { Variable } from "@tensorflow/tfjs";
import { type InitialWeights, readInitialWeights } from "../../src/adapters/fs/initial-weights.ts";
import { readKerasWeights } from "../../src/adapters/fs/keras-weights.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { beginWith, type Fit } from "../../src/runtime/begin-with.ts";
import { layerSettings } from "../../src/runtime/layer-settings.ts";
import type { LayersModel, TensorFlow } from "../../src/ports/engine.ts";
import { testEngine } from "../fixtures/engine.ts";
import { Fuzz } from "../fixtures/fuzz.ts";
import { testFolder } from "../fixtures/running-launch.ts";

const fixtures = new URL("../fixtures/keras/files/", import.meta.url);

async function bytesOf(name: string): Promise<Buffer> {
  return gunzipSync(await readFile(new URL(`${name}.gz`, fixtures)));
}

async function read(folder: string, name: string): Promise<InitialWeights> {
  await writeFile(`${folder}/${name}`, await bytesOf(name));
  return await readInitialWeights(name, folder);
}

/** That of test/fixtures/keras/files/make.py. */
function sequenceModel({ layers, sequential, model, input }: TensorFlow): LayersModel {
  const dense = (name: string, units: number, more: object = {}) => layers.dense({ name, units, ...more });
  const activation = { recurrentActivation: "sigmoid" } as const;
  const rnn = { returnSequences: true } as const;
  const inner = sequential({
    name: "inner",
    layers: [dense("first", 3, { inputShape: [16] }), dense("second", 3, { activation: "tanh" })],
  });
  const between = input({ shape: [3] });
  const third = dense("third", 3, { useBias: false }).apply(between) as typeof between;
  const shared = model({ inputs: between, outputs: third, name: "shared" });
  const lstm = layers.lstm({ units: 2, name: "lstm", ...rnn, ...activation });
  const chain = [
    layers.embedding({ inputDim: 10, outputDim: 4, inputLength: 6, name: "words" }),
    layers.bidirectional({ layer: lstm, mergeMode: "concat", name: "both" }),
    layers.timeDistributed({ layer: dense("inside", 4), name: "each" }),
    layers.gru({ units: 3, name: "gru", ...rnn, ...activation }),
    layers.simpleRNN({ units: 4, name: "simple", ...rnn }),
    layers.layerNormalization({ name: "layer_norm" }),
    layers.reshape({ targetShape: [6, 4, 1] }),
    layers.conv2d({ filters: 3, kernelSize: 3, padding: "same", name: "conv" }),
    layers.batchNormalization({ name: "norm" }),
    layers.batchNormalization({ center: false, name: "scaled" }),
    layers.depthwiseConv2d({ kernelSize: 3, name: "depth" }),
    layers.separableConv2d({ filters: 2, kernelSize: 2, name: "separable" }),
    layers.conv2dTranspose({ filters: 2, kernelSize: 2, useBias: false, name: "transposed" }),
    layers.prelu({ name: "leaky" }),
    layers.flatten(),
    inner,
    shared,
    shared,
    dense("head", 2),
  ];
  const tokens = input({ shape: [6] });
  let output = tokens;
  for (const layer of chain) output = layer.apply(output) as typeof output;
  return model({ inputs: tokens, outputs: output });
}

function begin(model: LayersModel, tf: TensorFlow, weights: InitialWeights): Fit {
  // TensorFlow.js counts weights of one name, also those of other models in the process.
  const own = new Map(model.weights.map((weight) => [weight.name.replace(/_\d+$/, ""), weight]));
  const listed = [...own].map(([name, { shape }]) => ({ name, shape: shape as number[] }));
  return beginWith(weights, listed, layerSettings(model), ({ name, shape }, values) =>
    (own.get(name)!.read() as Variable).assign(tf.tensor(values, [...shape])),
  );
}

async function assertPredicts(model: LayersModel, tf: TensorFlow, version: "2" | "3"): Promise<void> {
  const expected = JSON.parse(await readFile(new URL("expected.json", fixtures), "utf8"));
  const tokens = [
    [1, 4, 2, 9, 0, 3],
    [7, 7, 5, 1, 8, 2],
  ];
  const predicted = (model.predict(tf.tensor2d(tokens)) as ReturnType<typeof tf.tensor2d>).arraySync();
  for (const [i, row] of predicted.entries()) {
    for (const [j, value] of row.entries()) {
      const wanted = expected[`predictions${version}`][i][j];
      assert.ok(Math.abs(value - wanted) < 1e-5, `${value} where Keras predicts ${wanted}`);
    }
  }
}

/** Whole files say everything; all of them say the same. */
for (const [version, names] of [
  ["3", ["whole3.h5", "whole3.keras"]],
  ["2", ["whole2.h5", "whole2.keras", "weights2.h5"]],
] as const) {
  test(`a model with the weights that Keras ${version} has written predicts what Keras predicts: ${names.join(", ")}`, async (context) => {
    const folder = await testFolder(context);
    const { tf } = await testEngine();
    const digests = new Set<string>();
    for (const name of names) {
      const weights = await read(folder, name);
      const model = sequenceModel(tf);
      const fit = begin(model, tf, weights);
      assert.deepEqual({ drawn: fit.drawn, unused: fit.unused }, { drawn: [], unused: [] }, name);
      assert.equal(fit.taken.length, weights.tensors.length);
      await assertPredicts(model, tf, version);
      digests.add(weights.digest);
    }
    assert.equal(digests.size, 1);
  });
}

test("weights alone, by number: what the file says too little of is left out and named, or refused", async (context) => {
  const folder = await testFolder(context);
  const { tf } = await testEngine();
  const whole = new Map((await read(folder, "whole3.keras")).tensors.map((tensor) => [tensor.name, tensor]));
  const three = await read(folder, "whole3.weights.h5");
  for (const tensor of three.tensors) assert.deepEqual(tensor, whole.get(tensor.name), tensor.name);
  const known = new Set(three.tensors.map(({ name }) => name));
  const lacking = [...whole.keys()].filter((name) => !known.has(name));
  assert.deepEqual(lacking, [
    ...["each/bias", "each/kernel"],
    ...["scaled/gamma", "scaled/moving_mean", "scaled/moving_variance"],
  ]);
  assert.deepEqual(three.unnamed, [
    ...[0, 1, 2].map((i) => `layers/batch_normalization_1/vars/${i}`),
    ...[0, 1].map((i) => `layers/time_distributed/layer/vars/${i}`),
  ]);
  assertRefused(
    () => begin(sequenceModel(tf), tf, three),
    /in whole3\.weights\.h5, scaled has weights of which the file does not say/,
  );

  // Keras 2 does not write what layers are called: their folders stand for it.
  const two = await read(folder, "whole2.weights.h5");
  const names = new Set(two.tensors.map(({ name }) => name));
  for (const name of [
    "embedding/embeddings",
    "conv2d/kernel",
    "gru/recurrent_kernel",
    "bidirectional/backward_lstm/bias",
  ]) {
    assert.ok(names.has(name), name);
  }
  const dense = tf.sequential({ layers: [tf.layers.dense({ units: 2, inputShape: [3], name: "dense" })] });
  assertRefused(() => begin(dense, tf, two), /in whole2\.weights\.h5, dense is the name of several layers/);
});

test("layers that would do something else with the weights are refused by name", async (context) => {
  const folder = await testFolder(context);
  const { tf } = await testEngine();
  const { layers } = tf;
  const inputShape = [4, 2];
  const gru = (name: string) => tf.sequential({ layers: [layers.gru({ units: 3, name, useBias: false, inputShape })] });
  const lstm = (recurrentActivation: "sigmoid" | "hardSigmoid") =>
    tf.sequential({ layers: [layers.lstm({ units: 3, name: "lstm", recurrentActivation, inputShape })] });
  for (const file of ["reset.keras", "reset-nobias.keras"]) {
    const weights = await read(folder, file);
    assertRefused(
      () => begin(gru("gru"), tf, weights),
      /gru is a GRU with reset_after=True, which TensorFlow\.js does not have/,
    );
    // Of a layer that the model does not have, it is nothing to refuse.
    assertRefused(() => begin(gru("mine"), tf, weights), /has none of the model's weights/);
  }
  const hard = await read(folder, "hard.keras");
  for (const activation of ["sigmoid", "hardSigmoid"] as const) {
    assertRefused(
      () => begin(lstm(activation), tf, hard),
      new RegExp(
        `lstm was trained with recurrentActivation "hard_sigmoid of Keras 3" in hard.keras, where the model has "${activation}"`,
      ),
    );
  }
  const twins = await read(folder, "twins.keras");
  const dense = tf.sequential({ layers: [layers.dense({ units: 2, name: "a", inputShape })] });
  assertRefused(() => begin(dense, tf, twins), /a is the name of several layers/);

  const whole = await read(folder, "whole3.h5");
  const norm = tf.sequential({
    layers: [layers.batchNormalization({ name: "norm", epsilon: 1e-5, inputShape: [3] })],
  });
  assertRefused(
    () => begin(norm, tf, whole),
    /norm was trained with epsilon 0\.001 in whole3\.h5, where the model has 0\.00001/,
  );
  const wrapped = layers.lstm({ units: 2, name: "lstm", returnSequences: true });
  const both = tf.sequential({ layers: [layers.bidirectional({ layer: wrapped, name: "both", inputShape: [6, 4] })] });
  assertRefused(
    () => begin(both, tf, whole),
    /both\/forward_lstm was trained with recurrentActivation "sigmoid" in whole3\.h5, where the model has "hardSigmoid"/,
  );
});

test("HDF5 as others write it: big-endian, in packed chunks; layers that TensorFlow.js does not have are named", async (context) => {
  const { tensors, unnamed } = await read(await testFolder(context), "packed.h5");
  assert.deepEqual(tensors, [
    { name: "a/bias", shape: [10], values: Float32Array.from({ length: 10 }, (_, i) => i) },
    { name: "a/kernel", shape: [60, 10], values: Float32Array.from({ length: 600 }, (_, i) => i) },
  ]);
  assert.deepEqual(unnamed, ["layers/my_layer/vars/0"]);
});

test("a file that cannot be read is named with what it is", { timeout: 300_000 }, async (context) => {
  const folder = await testFolder(context);
  const whole = await bytesOf("whole3.h5");
  const archive = await bytesOf("whole3.keras");
  const damaged = Buffer.from(archive);
  damaged[Math.floor(archive.length * 0.8)]! ^= 1;
  const cases: readonly (readonly [name: string, bytes: Uint8Array, problem: RegExp])[] = [
    ["empty.h5", new Uint8Array(0), /no HDF5 file, or damaged \(file signature not found\)/],
    ["page.keras", Buffer.from("<html>"), /no HDF5 file, or damaged/],
    ["short.h5", whole.subarray(0, whole.length - 100), /no HDF5 file, or damaged \(truncated file/],
    ["short.keras", archive.subarray(0, archive.length - 100), /it is damaged: it has no directory at its end/],
    ["damaged.keras", damaged, /it is damaged: "model\.weights\.h5" is not what its checksum says/],
    ["lzf.h5", await bytesOf("lzf.h5"), /layers\/dense\/vars\/0 is packed with lzf; expected gzip or none/],
    ["elsewhere.h5", await bytesOf("elsewhere.h5"), /damaged \(unable to open external raw data file/],
    [
      "linked.h5",
      await bytesOf("linked.h5"),
      /layers\/dense\/vars\/0 is a link that leads out of the file, or nowhere/,
    ],
    ["other.h5", await bytesOf("other.h5"), /neither layers nor layer_names/],
    ["half.keras", await bytesOf("half.keras"), /layers\/dense\/vars\/0 is float16, and no float32/],
  ];
  for (const [name, bytes, problem] of cases) {
    await writeFile(`${folder}/${name}`, bytes);
    await assert.rejects(readInitialWeights(name, folder), (error) => {
      assert.ok(error instanceof LockstepError && error.code === "invalid-data", String(error));
      assert.match(error.message, problem);
      assert.ok(error.message.startsWith(`initialWeights: ${folder}/${name} cannot be read: `), error.message);
      assert.ok(error.hint);
      return true;
    });
  }
});

test("damage that leads HDF5 round in circles for ever is refused", async (context) => {
  const path = `${await testFolder(context)}/circle.h5`;
  const bytes = await bytesOf("packed.h5");
  const heap = bytes.indexOf("GCOL");
  const [freeSpaceOffset, lengthOffset] = [40, 8];
  assert.equal(
    bytes.readBigUInt64LE(heap + freeSpaceOffset + lengthOffset),
    4056n,
    "where the heap's free space begins",
  );
  bytes.fill(0, heap + freeSpaceOffset + lengthOffset, heap + freeSpaceOffset + lengthOffset + 8);
  await writeFile(path, bytes);
  await assert.rejects(readKerasWeights(path, 1000), {
    code: "invalid-data",
    message: "it is damaged: it leads HDF5 round in circles.",
  });
});

test("a damaged file is read, or refused by a sentence", { timeout: 300_000 }, async (context) => {
  const fuzz = Fuzz.begin(context);
  const folder = await testFolder(context);
  const samples = await Promise.all(["reset.keras", "packed.h5", "weights2.h5"].map(bytesOf));
  // Each in a thread of its own: the reader's state is gone after an error.
  const inputs = Array.from({ length: 16 }, () => fuzz.input(samples));
  let refused = 0;
  for (const [i, bytes] of inputs.entries()) {
    await writeFile(`${folder}/${i}.h5`, bytes);
    try {
      await readInitialWeights(`${i}.h5`, folder);
    } catch (error) {
      const isMeant =
        error instanceof LockstepError && error.code === "invalid-data" && !/\n\s+at /.test(error.message);
      if (!isMeant) throw new Error(`input ${i} is neither read nor refused`, { cause: error });
      refused++;
    }
  }
  context.diagnostic(`${refused} of ${inputs.length} were refused`);
});

function assertRefused(run: () => unknown, problem: RegExp): void {
  assert.throws(run, (error) => {
    assert.ok(error instanceof LockstepError && error.code === "invalid-job", String(error));
    assert.match(error.message, problem);
    assert.ok(error.hint);
    return true;
  });
}
