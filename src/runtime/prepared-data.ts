/** A job's samples as its model takes them: split, pre-processed (fitted on the training split alone), by position. */
import { LockstepError } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import { type Range, type Split, splitSamples } from "../core/sampler.ts";
import { applyTransforms, type EachRows, fitTransforms, outputShape, type Preprocessing } from "../core/transforms.ts";
import type { Dataset, Samples } from "../ports/dataset.ts";
import type { Batch } from "./training-program.ts";

/** Rows that are read at once while transforms are fitted: bounds the memory, and decides nothing. */
const fitRows = 4096;

export class PreparedData {
  readonly digest: string;
  readonly preprocessing: Preprocessing;
  readonly #dataset: Dataset;
  readonly #split: Split;

  constructor(dataset: Dataset, job: Job) {
    this.#dataset = dataset;
    this.digest = dataset.digest;
    this.#split = splitSamples(job.seed, dataset.length, job.validation);
    if (this.trainingSamples === 0 || (job.validation && this.validationSamples === 0)) {
      throw new LockstepError(
        "invalid-job",
        `validation.fraction is ${job.validation?.fraction}: of ${dataset.length} samples that leaves ${this.trainingSamples} for training and ${this.validationSamples} for validation.`,
        { hint: "Each needs at least one sample: change the fraction, or bring more data." },
      );
    }
    const fit = (column: "features" | "label") =>
      fitTransforms(job.preprocess[column], dataset[column].shape, this.#rows(column), `preprocess.${column}`);
    this.preprocessing = { features: fit("features"), label: fit("label") };
  }

  get trainingSamples(): number {
    return this.#split.training.length;
  }

  get validationSamples(): number {
    return this.#split.validation.length;
  }

  /** One sample's shapes, after pre-processing. */
  get shapes(): { features: readonly number[]; label: readonly number[] } {
    return { features: outputShape(this.preprocessing.features), label: outputShape(this.preprocessing.label) };
  }

  /** The samples at these positions of the training split. */
  training(positions: Uint32Array): Batch {
    return this.transform(this.#dataset.read(positions.map((position) => this.#split.training[position]!)));
  }

  /** The samples of a range of the validation split. */
  validation({ begin, end }: Range): Batch {
    return this.transform(this.#dataset.read(this.#split.validation.subarray(begin, end)));
  }

  /** Samples of any dataset with the same columns, for instance the test data. */
  transform(samples: Samples): Batch {
    return preprocess(this.preprocessing, samples);
  }

  #rows(column: "features" | "label"): EachRows {
    return (use) => {
      for (let begin = 0; begin < this.trainingSamples; begin += fitRows) {
        use(this.#dataset.read(this.#split.training.subarray(begin, begin + fitRows))[column]);
      }
    };
  }
}

export function preprocess({ features, label }: Preprocessing, samples: Samples): Batch {
  return {
    count: samples.count,
    features: applyTransforms(features, samples.features, samples.count),
    label: applyTransforms(label, samples.label, samples.count),
  };
}
