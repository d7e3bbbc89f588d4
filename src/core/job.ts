import type * as tfjs from "@tensorflow/tfjs";

type TensorFlow = typeof tfjs;
type LayersModel = tfjs.LayersModel;

/**
 * A job file's default export: the eight steps of training a model, each a field. Everything in it must be the same
 * on every node; what may differ (paths, addresses) is given to the processes, not written here.
 */
export interface JobDefinition {
  /** Letters, digits, "-", "_" and "."; names the run's folder and its keys in etcd. */
  readonly name: string;
  /** Everything random is a function of this whole number, 0 to 2^53 − 1. Default 0. */
  readonly seed?: number;
  /** 1. Load the data. */
  readonly data: DataSource;
  /** 2. Pre-process: transforms applied in order. Fitted ones are fitted on the training split only. */
  readonly preprocess?: { readonly features?: TransformList; readonly label?: TransformList };
  /** 3. Split off validation data. Left out: no validation, and no `val_…` metrics. */
  readonly validation?: ValidationSplit;
  /** 4. The architecture: an ordinary LayersModel, not compiled. `shapes` are one sample's, after pre-processing. */
  readonly model: (tf: TensorFlow, shapes: SampleShapes) => LayersModel;
  /** 5. Compile. */
  readonly compile: {
    readonly optimizer: OptimizerDefinition;
    readonly loss: LossName;
    readonly metrics?: readonly MetricName[];
  };
  /** 6. Which checkpoint is the best one. Left out: `best` follows `val_loss`, or `loss` without validation, min. */
  readonly checkpoint?: { readonly monitor: string; readonly mode: "min" | "max" };
  /** 7. Train. `batchSize` is the global batch: all workers together. */
  readonly batchSize: number;
  readonly epochs: number;
  /** 8. Evaluate on data that training never sees. */
  readonly test?: DataSource;
  /** Text to print at the end, made with the best model; for instance a sample that it wrote. */
  readonly report?: (context: ReportContext) => string | Promise<string>;
}

export interface SampleShapes {
  readonly features: readonly number[];
  readonly label: readonly number[];
}

export interface ReportContext {
  readonly tf: TensorFlow;
  /** The model with the weights of `best`. */
  readonly model: LayersModel;
  /** Numbers in [0, 1) that are a function of the job's seed. */
  readonly random: () => number;
  /** Raw feature values of samples, row after row, as the model's input: the job's own pre-processing. */
  readonly encodeFeatures: (rows: readonly (readonly number[])[]) => tfjs.Tensor;
  /** The raw label value that an output index stands for: the label's pre-processing backwards. */
  readonly decodeLabel: (index: number) => number;
}

export type DataSource = CsvSource | TextSource;

/** A comma-separated file with a header row and numbers in every cell. */
export interface CsvSource {
  readonly kind: "csv";
  /** Relative to `--data`; without it, to the folder `data` beside the job file, or to the job file's own. */
  readonly path: string;
  /** The header of the column to predict; all others are features, in file order. */
  readonly label: string;
}

/**
 * Text files, one after the other in the order given: a sample's features are `window` consecutive characters (as
 * UTF-16 code units), its label is the character after them.
 */
export interface TextSource {
  readonly kind: "text";
  readonly paths: readonly string[];
  readonly window: number;
  /** Distance between the beginnings of two windows. */
  readonly stride: number;
}

export type TransformList = Transform | readonly Transform[];

export type Transform =
  /** Multiplies every value. */
  | { readonly kind: "scale"; readonly factor: number }
  /** Subtracts the training split's mean and divides by its standard deviation, column by column. */
  | { readonly kind: "standardize" }
  /** Replaces each value by its rank (from 1) among the training split's distinct values; 0 stands for all others. */
  | { readonly kind: "vocabulary" }
  /** Adds a last dimension with a 1 at the value's index. `classes` is known after `vocabulary`, else must be given. */
  | { readonly kind: "one-hot"; readonly classes?: number }
  /** Gives each sample another shape with as many values. */
  | { readonly kind: "reshape"; readonly shape: readonly number[] };

export interface ValidationSplit {
  /** Part of all samples, above 0 and below 1. */
  readonly fraction: number;
  /** "random" (default): drawn by the job's seed. "last": the end of the data, for text and series. */
  readonly take?: "random" | "last";
}

export type OptimizerDefinition =
  | { readonly kind: "sgd"; readonly learningRate: number; readonly momentum?: number; readonly nesterov?: boolean }
  | { readonly kind: "rmsprop"; readonly learningRate: number; readonly rho?: number; readonly epsilon?: number }
  | {
      readonly kind: "adagrad";
      readonly learningRate: number;
      readonly initialAccumulator?: number;
      readonly epsilon?: number;
    }
  | {
      readonly kind: "adam";
      readonly learningRate: number;
      readonly beta1?: number;
      readonly beta2?: number;
      readonly epsilon?: number;
      /** Decoupled weight decay (AdamW). */
      readonly weightDecay?: number;
    };

export const lossNames = [
  "categoricalCrossentropy",
  "sparseCategoricalCrossentropy",
  "binaryCrossentropy",
  "meanSquaredError",
  "meanAbsoluteError",
] as const;
export type LossName = (typeof lossNames)[number];

/** "accuracy" means the kind of accuracy that goes with the loss. */
export const metricNames = ["accuracy", "meanSquaredError", "meanAbsoluteError"] as const;
export type MetricName = (typeof metricNames)[number];

/** A job with every default filled in; plain data but for the two functions. */
export interface Job {
  readonly name: string;
  readonly seed: number;
  readonly data: DataSource;
  readonly preprocess: { readonly features: readonly Transform[]; readonly label: readonly Transform[] };
  readonly validation: Required<ValidationSplit> | null;
  readonly model: JobDefinition["model"];
  readonly optimizer: OptimizerDefinition;
  readonly loss: LossName;
  readonly metrics: readonly MetricName[];
  readonly checkpoint: { readonly monitor: string; readonly mode: "min" | "max" };
  readonly batchSize: number;
  readonly epochs: number;
  readonly test: DataSource | null;
  readonly report: NonNullable<JobDefinition["report"]> | null;
}
