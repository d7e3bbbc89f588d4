/** What weights in a file of Keras are called in TensorFlow.js, as tables: test/adapters/keras-weights.test.ts reads real files. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { folderNameOf, parseModelConfig, weightNames } from "../../src/core/keras-layers.ts";
import { type FileGroup, kerasNames } from "../../src/core/keras-names.ts";

/** A file's root, by paths of its tensors, and attributes by "GROUP@NAME". */
function fileOf(
  shapes: Readonly<Record<string, readonly number[]>>,
  texts: Readonly<Record<string, string | readonly string[]>> = {},
): FileGroup {
  interface Group extends FileGroup {
    readonly groups: Map<string, Group>;
    readonly shapes: Map<string, readonly number[]>;
    readonly texts: Map<string, string | readonly string[]>;
  }
  const empty = (): Group => ({ groups: new Map(), shapes: new Map(), texts: new Map() });
  const root = empty();
  const groupOf = (path: string) => {
    let group = root;
    for (const part of path === "" ? [] : path.split("/")) {
      if (!group.groups.has(part)) group.groups.set(part, empty());
      group = group.groups.get(part)!;
    }
    return group;
  };
  for (const [path, shape] of Object.entries(shapes)) {
    const end = path.lastIndexOf("/");
    groupOf(path.slice(0, Math.max(0, end))).shapes.set(path.slice(end + 1), shape);
  }
  for (const [place, value] of Object.entries(texts)) {
    const [path = "", name = ""] = place.split("@");
    groupOf(path).texts.set(name, value);
  }
  return root;
}

test("classes have the folders that Keras 3 gives them", () => {
  for (const [className, folder] of [
    ["Dense", "dense"],
    ["Conv2DTranspose", "conv2d_transpose"],
    ["SeparableConv2D", "separable_conv2d"],
    ["ConvLSTM2D", "conv_lstm2d"],
    ["SimpleRNN", "simple_rnn"],
    ["PReLU", "p_re_lu"],
    ["BatchNormalization", "batch_normalization"],
    ["TimeDistributed", "time_distributed"],
  ] as const) {
    assert.equal(folderNameOf(className), folder);
  }
});

test("weights by number have their class' names, where the file says enough", () => {
  const statistics = ["moving_mean", "moving_variance"];
  for (const [folder, config, count, names] of [
    ["dense", null, 2, ["kernel", "bias"]],
    ["dense", null, 1, ["kernel"]],
    ["dense", null, 3, null],
    ["embedding", null, 1, ["embeddings"]],
    ["depthwise_conv2d", null, 2, ["depthwise_kernel", "bias"]],
    ["separable_conv2d", null, 2, ["depthwise_kernel", "pointwise_kernel"]],
    ["lstm", null, 2, ["kernel", "recurrent_kernel"]],
    ["batch_normalization", null, 4, ["gamma", "beta", ...statistics]],
    ["batch_normalization", null, 2, statistics],
    ["batch_normalization", null, 3, null],
    ["batch_normalization", { center: false, scale: true }, 3, ["gamma", ...statistics]],
    ["batch_normalization", { center: true, scale: false }, 3, ["beta", ...statistics]],
    ["batch_normalization", { center: true, scale: true }, 3, null],
    ["layer_normalization", null, 1, null],
    ["layer_normalization", { scale: false }, 1, ["beta"]],
    ["einsum_dense", null, 2, null],
  ] as const) {
    assert.deepEqual(weightNames(folder, config, count), names, `${folder} of ${count}`);
  }
});

test("weights by name lose the models around them, their cells and their numbers", () => {
  for (const [layer, path, name] of [
    ["dense", "dense/kernel:0", "dense/kernel"],
    ["dense", "sequential/dense/kernel", "dense/kernel"],
    ["conv1/conv", "conv1/conv/kernel:0", "conv1/conv/kernel"],
    ["lstm", "lstm/lstm_cell_3/recurrent_kernel:0", "lstm/recurrent_kernel"],
    ["lstm", "model/lstm/kernel:0", "lstm/kernel"],
    ["both", "both/forward_lstm/lstm_cell/bias:0", "both/forward_lstm/bias"],
    ["inner", "a/kernel:0", "a/kernel"],
    ["inner", "inner/a/kernel:0", "a/kernel"],
    ["inner", "both/backward_gru/gru_cell/kernel:0", "both/backward_gru/kernel"],
  ] as const) {
    const root = fileOf(
      { [`${layer}/${path}`]: [2, 2] },
      { "@layer_names": [layer], [`${layer}@weight_names`]: [path] },
    );
    const { weights } = kerasNames({ root, model: null, version: "2.15.0" });
    assert.deepEqual(weights, [{ path: `${layer}/${path}`, name }]);
  }
});

test("a GRU is refused that resets after the product, or may, also where only its weights are known", () => {
  for (const [bias, refused] of [
    [[6], null],
    [[2, 6], /reset_after=True/],
    [null, /does not say that reset_after is False/],
  ] as const) {
    const shapes = { kernel: [3, 6], recurrent_kernel: [2, 6], ...(bias && { bias }) };
    const paths = Object.keys(shapes).map((weight) => `gru/gru_cell/${weight}:0`);
    const named = fileOf(Object.fromEntries(Object.values(shapes).map((shape, i) => [`gru/${paths[i]}`, shape])), {
      "@layer_names": ["gru"],
      "gru@weight_names": paths,
    });
    const numbered = fileOf(
      Object.fromEntries(Object.values(shapes).map((shape, i) => [`layers/gru/cell/vars/${i}`, shape])),
    );
    for (const root of [named, numbered]) {
      const [layer] = kerasNames({ root, model: null, version: "" }).layers;
      assert.equal(layer!.name, "gru");
      if (refused === null) assert.equal(layer!.refusal, null);
      else assert.match(layer!.refusal!.what, refused);
    }
  }
});

test("an RNN that is made of a cell is what the cell says", () => {
  const cell = { class_name: "GRUCell", config: { name: "cell", reset_after: true, recurrent_activation: "sigmoid" } };
  const layers = [{ class_name: "RNN", config: { name: "r", cell } }];
  const model = parseModelConfig(JSON.stringify({ class_name: "Sequential", config: { layers } }));
  const shapes = { 0: [3, 6], 1: [2, 6] };
  const numbered = fileOf(
    Object.fromEntries(Object.entries(shapes).map(([i, shape]) => [`layers/rnn/cell/vars/${i}`, shape])),
  );
  const paths = ["r/gru_cell/kernel", "r/gru_cell/recurrent_kernel"];
  const named = fileOf(Object.fromEntries(paths.map((path, i) => [`r/${path}`, Object.values(shapes)[i]!])), {
    "@layer_names": ["r"],
    "r@weight_names": paths,
  });
  for (const root of [numbered, named]) {
    const { weights, layers } = kerasNames({ root, model, version: "3.15.1" });
    assert.deepEqual(
      weights.map(({ name }) => name),
      ["r/kernel", "r/recurrent_kernel"],
    );
    assert.deepEqual(
      layers.map(({ settings }) => settings),
      [{ recurrentActivation: "sigmoid" }],
    );
    assert.match(layers[0]!.refusal!.what, /reset_after=True/);
  }
});

test("lists of names that Keras cuts into parts are read whole", () => {
  const root = fileOf(
    { "a/a/kernel": [2, 2], "b/b/kernel": [2, 2] },
    { "@layer_names0": ["a"], "@layer_names1": ["b"], "a@weight_names0": ["a/kernel"], "b@weight_names": ["b/kernel"] },
  );
  const { weights } = kerasNames({ root, model: null, version: "" });
  assert.deepEqual(
    weights.map(({ name }) => name),
    ["a/kernel", "b/kernel"],
  );
});

test("a configuration names layers by the order of their class, also in models within; what is no weight is no matter", () => {
  const dense = (name: string) => ({ class_name: "Dense", config: { name } });
  const inner = { class_name: "Sequential", config: { name: "inner", layers: [dense("c")] } };
  const config = { class_name: "Functional", config: { name: "whole", layers: [dense("b"), inner, dense("a")] } };
  const root = fileOf({
    "layers/dense/vars/0": [1, 1],
    "layers/dense_1/vars/0": [1, 1],
    "layers/sequential/layers/dense/vars/0": [1, 1],
    "layers/dropout/seed_generator/vars/0": [2],
    "layers/mine/vars/0": [2],
    "optimizer/vars/0": [],
    "head/vars/0": [2, 2],
  });
  const { weights, unnamed } = kerasNames({ root, model: parseModelConfig(JSON.stringify(config)), version: "" });
  assert.deepEqual(
    weights.map(({ name, path }) => [path, name]),
    [
      ["layers/dense/vars/0", "b/kernel"],
      ["layers/dense_1/vars/0", "a/kernel"],
      ["layers/sequential/layers/dense/vars/0", "c/kernel"],
    ],
  );
  assert.deepEqual(unnamed, ["layers/mine/vars/0", "head/vars/0"]);
});

test("what Keras did not write, or wrote on Theano, is refused", () => {
  for (const [root, problem] of [
    [fileOf({ a: [2] }), /neither layers nor layer_names/],
    [fileOf({}, { "@layer_names": ["a"] }), /no group a/],
    [fileOf({ "a/b": [2] }, { "@layer_names": ["a"], "a@weight_names": ["a/kernel"] }), /no group a, which it names/],
    [fileOf({}, { "@layer_names": [], "@backend": "theano" }), /Theano/],
  ] as const) {
    assert.throws(() => kerasNames({ root, model: null, version: "" }), problem);
  }
  for (const text of ["{", "[]", "{}", '{"class_name": 3, "config": {}}']) {
    assert.throws(() => parseModelConfig(text), /the model's configuration/);
  }
});
