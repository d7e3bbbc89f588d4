/** A job's samples as its model takes them: split, pre-processed (fitted on the training split alone), by position. */
import { type Augmentation, augment, checkAugmentation } from "../core/augmentation.ts";
import { ClassCounts, type ClassNumbers, noClass, wrongClass } from "../core/class-check.ts";
import { partsOf, rawColumns } from "../core/columns.ts";
import { checkColumnUse, mayLack, type UsedColumn, unfilled } from "../core/column-use.ts";
import { type EachRows, fitTransforms } from "../core/fit-transforms.ts";
import { LockstepError } from "../core/errors.ts";
import type { ClassWeight, Job } from "../core/job.ts";
import type { Range, Split } from "../core/sampler.ts";
import { hasWeights } from "../core/sample-weight.ts";
import { splitBy } from "../core/split.ts";
import { applyTransforms, outputShape, type Preprocessing, sizeOf } from "../core/transforms.ts";
import { type SplitRule, splitRule } from "../core/validation-split.ts";
import { type Dataset, type DescribedDataset, placeOfSample, type Samples } from "../ports/dataset.ts";
import { classWeights, type WeightsOfLabels } from "./class-weights.ts";
import { isWeighted } from "./objective.ts";
import type { Batch } from "./training-program.ts";

/** Rows that are read at once while transforms are fitted: bounds the memory, and decides nothing. */
const fitRows = 4096;

/** A dataset, and what is known of its files where it has some. */
export type JobDataset = Dataset &
  Partial<Pick<DescribedDataset, "columns" | "groups" | "files" | "placeOf">> & {
    /** How many samples are in the files of the job's `data`; the others, at the end, are in those of its validation. */
    readonly own?: number;
  };

export class PreparedData {
  readonly digest: string;
  readonly preprocessing: Preprocessing;
  readonly #dataset: JobDataset;
  readonly #split: Split;
  readonly #classWeights: WeightsOfLabels | null;
  readonly #isWeighted: boolean;
  readonly #seed: number;
  readonly #augmentations: readonly Augmentation[];

  constructor(dataset: JobDataset, job: Job) {
    this.#dataset = dataset;
    this.digest = dataset.digest;
    this.#seed = job.seed;
    this.#augmentations = job.augment;
    checkAugmentation(job.augment, dataset.features.shape);
    this.#split = splitDataset(dataset, job.seed, splitRule(job.validation));
    const { columns } = dataset;
    if (columns !== undefined) checkColumnUse(columns, job.preprocess);
    const fit = (column: "features" | "label", parts: readonly UsedColumn[] | undefined) =>
      fitTransforms(
        job.preprocess[column],
        dataset[column].shape,
        this.#rows(this.#split.training, column),
        `preprocess.${column}`,
        parts,
      );
    const raw = columns && rawColumns(columns.features, columns.label);
    this.preprocessing = {
      features: fit("features", columns?.features),
      label: fit("label", columns && partsOf<UsedColumn>(columns.label)),
      ...(raw === undefined ? {} : { columns: raw }),
    };
    if (columns !== undefined && mayLack(columns.features)) this.#refuseUnfilled(columns.features);
    this.#classWeights = job.classWeight && this.#fitClassWeights(job.classWeight, job.loss);
    this.#isWeighted = isWeighted(job);
    if (hasWeights(job.data)) this.#refuseWithoutWeight();
  }

  get trainingSamples(): number {
    return this.#split.training.length;
  }

  get validationSamples(): number {
    return this.#split.validation.length;
  }

  /** Whether samples count differently. */
  get isWeighted(): boolean {
    return this.#isWeighted;
  }

  /** One sample's shapes, after pre-processing. */
  get shapes(): { features: readonly number[]; label: readonly number[] } {
    return { features: outputShape(this.preprocessing.features), label: outputShape(this.preprocessing.label) };
  }

  /** The samples at these positions of the training split, as they are in this epoch (from 0): augmentation differs from epoch to epoch. */
  training(positions: Uint32Array, epoch = 0): Batch {
    const indices = positions.map((position) => this.#split.training[position]!);
    const samples = this.#dataset.read(indices);
    const { shape } = this.#dataset.features;
    const width = sizeOf(shape);
    for (let i = 0; i < indices.length && this.#augmentations.length > 0; i++) {
      const image = samples.features.subarray(i * width, (i + 1) * width);
      augment(this.#augmentations, image, shape, { seed: this.#seed, epoch, index: indices[i]! });
    }
    const batch = this.transform(samples);
    const weight = this.#weights(samples.weight, batch);
    return weight === null ? batch : { ...batch, weight };
  }

  /** A sample's own weight, times its class's; null where there are neither. */
  #weights(own: Float32Array | undefined, { label, count }: Batch): Float32Array | null {
    const ofClasses = this.#classWeights?.(label, count) ?? null;
    if (own === undefined || ofClasses === null) return own ?? ofClasses;
    return own.map((weight, i) => weight * ofClasses[i]!);
  }

  /** The samples of a range of the validation split. */
  validation({ begin, end }: Range): Batch {
    return this.transform(this.#dataset.read(this.#split.validation.subarray(begin, end)));
  }

  /** Samples of any dataset with the same columns, for instance the test data. */
  transform(samples: Samples): Batch {
    return preprocess(this.preprocessing, samples);
  }

  /**
   * Throws "invalid-data" where a label is none of the classes that a loss takes it for, or none that its pre-processing takes.
   * @param other looked at instead of what trains and validates
   */
  async checkClasses(numbers: readonly ClassNumbers[], other?: JobDataset): Promise<void> {
    const { label } = this.preprocessing;
    if (numbers.length === 0 && other === undefined) return; // its pre-processing was fitted, which has seen it all
    const dataset = other ?? this.#dataset;
    const all = Uint32Array.from({ length: dataset.length }, (_, index) => index);
    for (const part of other ? [all] : [this.#split.training, this.#split.validation]) {
      for (let begin = 0; begin < part.length; begin += fitRows) {
        const some = part.subarray(begin, begin + fitRows);
        const labels = applyTransforms(label, dataset.labels(some), some.length);
        for (const one of numbers) {
          const wrong = wrongClass(labels, sizeOf(this.shapes.label), one);
          if (wrong !== null) throw noClass(wrong.label, one, await placeOfSample(dataset, some[wrong.row]!));
        }
      }
    }
  }

  /** A sentence on classes that only training or only validation has; null where there are none, or labels are no classes. */
  lackingClasses(): string | null {
    if (this.validationSamples === 0 || sizeOf(this.#dataset.label.shape) !== 1) return null;
    const { type, texts } = this.#dataset.columns?.label ?? {};
    if (type === "character" || type === "piece") return null; // most of a language is rare
    const counts = new ClassCounts();
    for (const part of ["training", "validation"] as const) {
      this.#rows(this.#split[part], "label")((labels) => counts.add(part, labels));
    }
    return counts.lacking((label) => texts?.[label] ?? String(label));
  }

  /** What is missing, and nothing fills in, would make every weight NaN. */
  #refuseUnfilled(columns: readonly UsedColumn[]): void {
    const { features } = this.preprocessing;
    for (const part of [this.#split.training, this.#split.validation]) {
      this.#rows(
        part,
        "features",
      )((rows) => {
        const what = unfilled(rows, columns, features);
        if (what !== null) throw what;
      });
    }
  }

  /** Samples that all count nothing would leave the weights as they are, and the loss without a value. */
  #refuseWithoutWeight(): void {
    const { training } = this.#split;
    for (let begin = 0; begin < training.length; begin += fitRows) {
      const samples = this.#dataset.read(training.subarray(begin, begin + fitRows));
      if (this.#weights(samples.weight, this.transform(samples))?.some((weight) => weight > 0)) return;
    }
    throw new LockstepError("invalid-data", "All samples of the training split have the weight 0, and count nothing.", {
      hint: "Give those that are to be learned from a weight above 0.",
    });
  }

  #fitClassWeights(given: ClassWeight, loss: Job["loss"]): WeightsOfLabels {
    const { label } = this.preprocessing;
    return classWeights(given, loss, outputShape(label), (use) => {
      this.#rows(
        this.#split.training,
        "label",
      )((rows) => {
        const count = rows.length / sizeOf(label.shape);
        use(applyTransforms(label, rows, count), count);
      });
    });
  }

  #rows(indices: Uint32Array, column: "features" | "label"): EachRows {
    return (use) => {
      for (let begin = 0; begin < indices.length; begin += fitRows) {
        const some = indices.subarray(begin, begin + fitRows);
        use(column === "label" ? this.#dataset.labels(some) : this.#dataset.read(some).features);
      }
    };
  }
}

/** Which of a job's samples train, and which validate. */
export function splitDataset(dataset: JobDataset, seed: number, rule: SplitRule | null): Split {
  return splitBy(seed, rule, {
    total: dataset.length,
    own: dataset.own ?? dataset.length,
    groups: dataset.groups ?? null,
    labels: () => labelsOf(dataset),
    nameOf: (label) => dataset.columns?.label.texts?.[label] ?? String(label),
  });
}

/** The label of every sample; null where it is several numbers. */
function labelsOf(dataset: Dataset): Float32Array | null {
  if (dataset.label.shape.some((size) => size > 1)) return null;
  const labels = new Float32Array(dataset.length);
  for (let begin = 0; begin < labels.length; begin += fitRows) {
    const indices = Uint32Array.from({ length: Math.min(fitRows, labels.length - begin) }, (_, i) => begin + i);
    labels.set(dataset.labels(indices), begin);
  }
  return labels;
}

export function preprocess({ features, label }: Preprocessing, samples: Samples): Batch {
  return {
    count: samples.count,
    features: applyTransforms(features, samples.features, samples.count),
    label: applyTransforms(label, samples.label, samples.count),
  };
}
