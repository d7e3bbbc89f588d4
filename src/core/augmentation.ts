/**
 * Training samples that are changed at random: mirrored, moved, in other light. What is drawn for a sample is a function of the
 * job's seed, the epoch and the sample's index in the data, so it is the same whoever computes it, in whatever batch, and after
 * any restart. Validation and evaluation see samples as they are.
 */
import {
  type Check,
  betweenZeroAndOne,
  fieldsOf,
  finiteNumber,
  joined,
  oneOf,
  optional,
  wholeNumber,
  wrongField,
} from "./field-checks.ts";
import { LockstepError } from "./errors.ts";
import { RandomStream } from "./random.ts";

export type Augmentation =
  /** Mirrors every other image on average: "horizontal" exchanges left and right. */
  | { readonly kind: "flip"; readonly direction: "horizontal" | "vertical" }
  /** Moves the image by up to `padding` pixels in each direction; what comes in from outside is 0. */
  | { readonly kind: "crop"; readonly padding: number }
  /**
   * Multiplies all values by 1 ± `brightness`, and their distances from the image's mean by 1 ± `contrast`; then they are kept
   * within `range`.
   */
  | {
      readonly kind: "jitter";
      readonly brightness: number;
      readonly contrast: number;
      readonly range: readonly [number, number];
    };

/** Mirrors every other image on average: left and right ("horizontal"), or top and bottom ("vertical"). */
export function flip(direction: "horizontal" | "vertical"): Augmentation {
  return { kind: "flip", direction };
}

/** Moves each image by up to `padding` pixels up or down, and left or right; what comes in from outside is 0. */
export function crop(options: { readonly padding: number }): Augmentation {
  return { kind: "crop", ...options };
}

/**
 * Other light: all values times 1 ± `brightness`, and then their distances from the image's mean times 1 ± `contrast`.
 * @param options.range where values are kept afterwards: [0, 255] unless it is given
 */
export function jitter(options: {
  readonly brightness?: number;
  readonly contrast?: number;
  readonly range?: readonly [number, number];
}): Augmentation {
  return { kind: "jitter", brightness: 0, contrast: 0, range: [0, 255], ...options };
}

const fields = {
  flip: ["kind", "direction"],
  crop: ["kind", "padding"],
  jitter: ["kind", "brightness", "contrast", "range"],
} as const;
const expected =
  'flip("horizontal"), crop({ padding: 4 }) and jitter({ brightness: 0.2, contrast: 0.2 }), or some of them';

export const augmentationList: Check<readonly Augmentation[]> = (value, path) => {
  if (!Array.isArray(value)) throw wrongField(path, value, `a list of ${expected}`);
  return value.map((item, index) => augmentation(item, `${path}[${index}]`));
};

const augmentation: Check<Augmentation> = (value, path) => {
  const given = fieldsOf(value, path, ["kind", "direction", "padding", "brightness", "contrast", "range"], expected);
  const kind = oneOf(["flip", "crop", "jitter"])(given.kind, joined(path, "kind"));
  fieldsOf(value, path, fields[kind], expected);
  if (kind === "flip") {
    return { kind, direction: oneOf(["horizontal", "vertical"])(given.direction, joined(path, "direction")) };
  }
  if (kind === "crop") return { kind, padding: wholeNumber(1)(given.padding, joined(path, "padding")) };
  const strength = (name: "brightness" | "contrast") =>
    given[name] === 0 ? 0 : (optional(given[name], joined(path, name), finiteNumber(betweenZeroAndOne)) ?? 0);
  const { range } = given;
  const isRange = Array.isArray(range) && range.length === 2 && range.every(Number.isFinite) && range[0] < range[1];
  if (!isRange) throw wrongField(joined(path, "range"), range, "[smallest, largest], as [0, 255]");
  return { kind, brightness: strength("brightness"), contrast: strength("contrast"), range: [range[0], range[1]] };
};

/** Throws where samples are no images. */
export function checkAugmentation(augmentations: readonly Augmentation[], shape: readonly number[]): void {
  if (augmentations.length === 0 || shape.length === 3) return;
  throw new LockstepError(
    "invalid-job",
    `augment is for images, and a sample's features have the shape [${shape.join(", ")}]; expected [height, width, channels].`,
    { hint: "Of idx, channels: true gives images of one channel; leave out augment for other data." },
  );
}

/** Changes one sample in place. `shape`: [height, width, channels]. */
export function augment(
  augmentations: readonly Augmentation[],
  image: Float32Array,
  shape: readonly number[],
  place: { readonly seed: number; readonly epoch: number; readonly index: number },
): void {
  const random = new RandomStream(place.seed, "augmentation", place.epoch, place.index);
  const [height = 1, width = 1, channels = 1] = shape;
  for (const one of augmentations) {
    switch (one.kind) {
      case "flip": {
        const isMirrored = random.nextFloat() < 0.5;
        if (!isMirrored) break;
        const isHorizontal = one.direction === "horizontal";
        move(image, height, width, channels, (y, x) => (isHorizontal ? [y, width - 1 - x] : [height - 1 - y, x]));
        break;
      }
      case "crop": {
        const down = random.nextBelow(2 * one.padding + 1) - one.padding;
        const right = random.nextBelow(2 * one.padding + 1) - one.padding;
        move(image, height, width, channels, (y, x) => [y - down, x - right]);
        break;
      }
      default: {
        const brightness = 1 + (2 * random.nextFloat() - 1) * one.brightness;
        const contrast = 1 + (2 * random.nextFloat() - 1) * one.contrast;
        relight(image, brightness, contrast, one.range);
      }
    }
  }
}

/** `from` says which pixel comes to a place; one outside the image is 0. */
function move(
  image: Float32Array,
  height: number,
  width: number,
  channels: number,
  from: (y: number, x: number) => readonly [number, number],
): void {
  const before = image.slice();
  image.fill(0);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [fromY, fromX] = from(y, x);
      if (fromY < 0 || fromY >= height || fromX < 0 || fromX >= width) continue;
      const begin = (fromY * width + fromX) * channels;
      image.set(before.subarray(begin, begin + channels), (y * width + x) * channels);
    }
  }
}

/** In float64, one value after the other: the same everywhere. */
function relight(image: Float32Array, brightness: number, contrast: number, range: readonly [number, number]): void {
  let sum = 0;
  for (let i = 0; i < image.length; i++) sum += image[i]! * brightness;
  const mean = sum / image.length;
  for (let i = 0; i < image.length; i++) {
    const value = mean + (image[i]! * brightness - mean) * contrast;
    image[i] = Math.min(range[1], Math.max(range[0], value));
  }
}
