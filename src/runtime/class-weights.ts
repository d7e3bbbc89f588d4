/** How much a sample counts in training because of its class. */
import type { ClassWeight, Job } from "../core/job.ts";
import { LockstepError } from "../core/errors.ts";

/** The weights of samples, by their pre-processed labels, row after row. */
export type WeightsOfLabels = (labels: Float32Array, count: number) => Float32Array;

/**
 * @param shape of one pre-processed label: a class's number, or one number for each class, the largest of which is its own
 * @param eachLabels gives all labels of the training split, piece by piece
 */
export function classWeights(
  given: ClassWeight,
  loss: Job["loss"],
  shape: readonly number[],
  eachLabels: (use: (labels: Float32Array, count: number) => void) => void,
): WeightsOfLabels {
  const width = shape.reduce((a, b) => a * b, 1);
  if (shape.length > 1 || (loss === "sparseCategoricalCrossentropy" && width > 1)) {
    throw new LockstepError(
      "invalid-job",
      `classWeight goes by one class a sample, but the label after pre-processing has the shape [${shape.join(", ")}].`,
      { hint: "Leave classWeight out; a loss of the job's own may weigh each position." },
    );
  }
  const counts = new Map<number, number>();
  eachLabels((labels, count) => {
    for (let row = 0; row < count; row++) {
      const number = classOf(labels, row, width);
      if (width > 1) refuseOtherThanOneClass(labels.subarray(row * width, (row + 1) * width));
      counts.set(number, (counts.get(number) ?? 0) + 1);
    }
  });
  const classes = [...counts.keys()].sort((a, b) => a - b);
  const odd = classes.find((number) => !Number.isInteger(number) || number < 0);
  if (odd !== undefined) {
    throw new LockstepError(
      "invalid-job",
      `classWeight goes by class numbers, but a label after pre-processing is ${odd}.`,
      {
        hint: "Put vocabulary() or oneHot() into preprocess.label, or leave classWeight out.",
      },
    );
  }
  const weights =
    given === "balanced"
      ? balanced(counts)
      : new Map(Object.entries(given).map(([name, weight]) => [Number(name), weight]));
  const unknown = [...weights.keys()].find((number) => !counts.has(number));
  if (unknown !== undefined) {
    throw new LockstepError(
      "invalid-job",
      `classWeight names the class ${unknown}, which no sample of the training split has; it has ${classes.join(", ")}.`,
      { hint: "Classes are numbered as after pre-processing: with vocabulary(), the first one is 1." },
    );
  }
  const weightOf = (number: number) => weights.get(number) ?? 1;
  if (classes.every((number) => weightOf(number) === 0)) {
    throw new LockstepError("invalid-job", "classWeight makes all samples of the training split count nothing.");
  }
  return (labels, count) => Float32Array.from({ length: count }, (_, row) => weightOf(classOf(labels, row, width)));
}

/** Each class counts as much as any other, and all samples together as many as they are, as scikit-learn has it. */
function balanced(counts: ReadonlyMap<number, number>): Map<number, number> {
  const samples = [...counts.values()].reduce((a, b) => a + b, 0);
  return new Map([...counts].map(([number, count]) => [number, samples / (counts.size * count)]));
}

/** Rounding of parts, as of smoothed labels, is within this. */
const oneTolerance = 1e-3;

/** Of numbers that are measurements, or several answers of yes and no, the largest says nothing of a class. */
function refuseOtherThanOneClass(label: Float32Array): void {
  const sum = label.reduce((a, b) => a + b, 0);
  if (Math.abs(sum - 1) <= oneTolerance && label.every((part) => part >= 0)) return;
  const shown = Array.from(label.subarray(0, 8), (part) => Number(part.toPrecision(6)));
  throw new LockstepError(
    "invalid-job",
    `classWeight goes by one class a sample, but a label after pre-processing is [${shown.join(", ")}${label.length > 8 ? ", …" : ""}]; expected a part for each class, 1 in all.`,
    { hint: "Leave classWeight out; a column of the data may say how much each sample counts." },
  );
}

function classOf(labels: Float32Array, row: number, width: number): number {
  if (width === 1) return labels[row]!;
  let largest = 0;
  for (let i = 1; i < width; i++) if (labels[row * width + i]! > labels[row * width + largest]!) largest = i;
  return largest;
}
