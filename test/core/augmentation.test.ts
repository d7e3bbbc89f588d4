/** Images that are changed at random: what each change does, and what its random numbers depend on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { augment, augmentationList } from "../../src/core/augmentation.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { type Augmentation, crop, flip, jitter } from "../../src/index.ts";

const shape = [3, 2, 1];
const image = [1, 2, 3, 4, 5, 6];

function changed(list: readonly Augmentation[], epoch: number, index = 0, seed = 7): number[] {
  const values = Float32Array.from(image);
  augment(list, values, shape, { seed, epoch, index });
  return Array.from(values);
}

const epochs = Array.from({ length: 400 }, (_, epoch) => epoch);
const distinct = (list: readonly Augmentation[]) => new Set(epochs.map((epoch) => changed(list, epoch).join(" ")));

test("flip mirrors every other image, left and right or top and bottom", () => {
  assert.deepEqual(distinct([flip("horizontal")]), new Set(["1 2 3 4 5 6", "2 1 4 3 6 5"]));
  assert.deepEqual(distinct([flip("vertical")]), new Set(["1 2 3 4 5 6", "5 6 3 4 1 2"]));
  const mirrored = epochs.filter((epoch) => changed([flip("vertical")], epoch)[0] === 5).length;
  assert.ok(mirrored > 150 && mirrored < 250, `${mirrored} of 400`);
});

test("crop moves an image to each place that is no farther than its padding, with zeros around", () => {
  const moved = distinct([crop({ padding: 1 })]);
  assert.equal(moved.size, 9);
  assert.ok(moved.has("1 2 3 4 5 6") && moved.has("0 0 0 1 0 3") && moved.has("4 0 6 0 0 0"));
});

test("jitter changes brightness and contrast by no more than it says, within the range", () => {
  for (const epoch of epochs) {
    const brighter = changed([jitter({ brightness: 0.5 })], epoch);
    const factor = brighter[0]!;
    assert.ok(factor >= 0.5 && factor <= 1.5);
    assert.deepEqual(
      brighter,
      image
        .map((value) => Math.fround(value * factor))
        .map((value, i) => (Math.abs(value - brighter[i]!) < 1e-6 ? brighter[i]! : value)),
    );
    const flatter = changed([jitter({ contrast: 0.5, range: [2, 5] })], epoch);
    assert.ok(flatter.every((value) => value >= 2 && value <= 5));
    assert.ok(Math.abs(flatter[2]! + flatter[3]! - 7) < 1e-5, "the mean stays");
  }
});

test("what is drawn is a function of seed, epoch and sample, and of nothing else", () => {
  const all = [flip("horizontal"), crop({ padding: 2 }), jitter({ brightness: 0.2, contrast: 0.2 })];
  assert.deepEqual(changed(all, 3, 5), changed(all, 3, 5));
  const others = [changed(all, 3, 5), changed(all, 4, 5), changed(all, 3, 6), changed(all, 3, 5, 8)];
  assert.equal(new Set(others.map(String)).size, 4);
});

test("a wrong augmentation is named by its path", () => {
  const cases: [unknown, string][] = [
    [flip("horizontal"), 'augment is { kind: "flip", direction: "horizontal" }; expected a list of flip('],
    [[{ kind: "flip", direction: "left" }], 'augment[0].direction is "left"; expected "horizontal" or "vertical".'],
    [[flip("vertical"), crop({ padding: 0 })], "augment[1].padding is 0; expected a whole number, 1 or more."],
    [[jitter({ brightness: 1.5 })], "augment[0].brightness is 1.5; expected a number above 0 and below 1."],
    [[jitter({ range: [1, 1] })], "augment[0].range is [1, 1]; expected [smallest, largest], as [0, 255]."],
    [[{ ...crop({ padding: 1 }), range: [0, 1] }], "augment[0].range is not a field"],
  ];
  for (const [value, message] of cases) {
    assert.throws(
      () => augmentationList(value, "augment"),
      (error) => error instanceof LockstepError && error.message.startsWith(message),
      message,
    );
  }
});
