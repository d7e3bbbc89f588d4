import assert from "node:assert/strict";
import { test } from "node:test";
import { LockstepError } from "../../src/core/errors.ts";
import { asBuiltBefore, asInCheckpoint } from "../../src/core/weight-names.ts";

/** Each as its name, or as its name and the one without the number that tells it from others. */
const built = (...names: readonly (string | readonly [name: string, originalName: string])[]) =>
  names.map((given) =>
    typeof given === "string" ? { name: given, originalName: given } : { name: given[0], originalName: given[1] },
  );

test("weights of a model that is built later have the names of the first, whatever numbers they got", () => {
  const cases = [
    [
      "it is the first",
      built("dense_Dense1/kernel", "dense_Dense2/kernel"),
      ["dense_Dense1/kernel", "dense_Dense2/kernel"],
    ],
    [
      "its layers are counted on",
      built("dense_Dense3/kernel", "dense_Dense4/kernel"),
      ["dense_Dense1/kernel", "dense_Dense2/kernel"],
    ],
    [
      "over nines and tens",
      built("dense_Dense9/bias", "dense_Dense10/bias"),
      ["dense_Dense5/bias", "dense_Dense6/bias"],
    ],
    ["its layers are made in another order", built("a_A4/w", "a_A3/w"), ["a_A2/w", "a_A1/w"]],
    [
      "layers of several classes",
      built("conv2d_Conv2D7/kernel", "dense_Dense3/bias"),
      ["conv2d_Conv2D1/kernel", "dense_Dense2/bias"],
    ],
    [
      "layers in layers",
      built("forward_lstm_LSTM2/kernel", "backward_lstm_LSTM2/kernel"),
      ["forward_lstm_LSTM1/kernel", "backward_lstm_LSTM1/kernel"],
    ],
    [
      "models in models",
      built("sequential_4/dense_Dense5/w", "model3/dense_Dense6/w"),
      ["sequential_2/dense_Dense1/w", "model1/dense_Dense2/w"],
    ],
    [
      "names of its own",
      built(["head/kernel_1", "head/kernel"], ["head/bias_2", "head/bias"]),
      ["head/kernel", "head/bias"],
    ],
    ["names of its own, in another order", built(["b2/w_1", "b2/w"], ["b1/w_1", "b1/w"]), ["b1/w", "b2/w"]],
    ["one name twice", built(["in/w_3", "in/w"], ["in/w_2", "in/w"]), ["in/w_1", "in/w"]],
    ["names that the first model had not alone", built(["in/w_7", "in/w"], ["in/w_6", "in/w"]), ["in/w_4", "in/w_3"]],
    ["both kinds", built(["head/w_1", "head/w"], "dense_Dense5/w"), ["head/w", "dense_Dense2/w"]],
  ] as const;
  for (const [what, weights, known] of cases) {
    const names = asBuiltBefore(known)(weights);
    const isByName = what === "names of its own, in another order";
    assert.deepEqual(names, isByName ? ["b2/w", "b1/w"] : known, what);
    assert.deepEqual(asInCheckpoint("id", known)(weights), names);
  }
});

test("the names of another model are refused, with what differs", () => {
  const cases = [
    [built("dense_Dense3/kernel"), ["a/kernel", "b/kernel"], "1", "2"],
    [
      built("dense_Dense3/w", "dense_Dense4/w"),
      ["dense_Dense1/w", "conv2d_Conv2D1/w"],
      "dense_Dense4/w",
      "conv2d_Conv2D1/w",
    ],
    [
      built("dense_Dense4/w", "dense_Dense3/w"),
      ["dense_Dense1/w", "dense_Dense2/w"],
      "dense_Dense4/w",
      "dense_Dense1/w",
    ],
    [built(["head/w_1", "head/w"]), ["tail/w"], "head/w", "tail/w"],
    [built("layer2/w", "dense_Dense3/w"), ["layer1/w", "dense_Dense1/w"], "layer2/w", "layer1/w"],
  ] as const;
  for (const [weights, known, own, not] of cases) {
    const what = (one: string) => (/^\d$/.test(one) ? `${one} weight${one === "1" ? "" : "s"}` : `the weight ${one}`);
    assert.throws(() => asBuiltBefore(known)(weights), {
      code: "invalid-job",
      message: `The job's model has ${what(own)}, and had ${not} when it was built before.`,
    });
    assert.throws(
      () => asInCheckpoint("id", known)(weights),
      (error) => {
        assert.ok(error instanceof LockstepError && error.code === "incompatible");
        assert.equal(error.message, `The checkpoint id has ${what(not)}, where the job's model has ${own}.`);
        assert.equal(error.hint, "Use the job file that the checkpoint was trained with.");
        return true;
      },
    );
  }
});
