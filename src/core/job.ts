import type * as tfjs from "@tensorflow/tfjs";
import type { Callbacks } from "./callbacks.ts";
import type { Augmentation } from "./augmentation.ts";
import type {
  CustomLoss,
  LossDefinition,
  LossName,
  LossSettings,
  MetricName,
  OutputDefinition,
  OutputRule,
  StepFunction,
} from "./compile.ts";
import type { EarlyStopping } from "./early-stopping.ts";
import type { FormatSource } from "./format-sources.ts";
import type { KeepRule } from "./retention.ts";
import type { JobSettings, ParamValues } from "./settings.ts";
import type { TableColumns } from "./columns.ts";
import type { Transform, TransformList } from "./transform-definition.ts";
import type { ValidationRule, ValidationSplit } from "./validation-split.ts";
import type { WireFormat } from "./wire.ts";

export type TensorFlow = typeof tfjs;
export type LayersModel = tfjs.LayersModel;

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
  /** Changes images of training batches at random, before they are pre-processed: the same ones whatever happens to workers. */
  readonly augment?: readonly Augmentation[];
  /** 3. Split off validation data. Left out: no validation, and no `val_…` metrics. */
  readonly validation?: ValidationSplit;
  /** 4. The architecture: an ordinary LayersModel, not compiled. `shapes` are one sample's, after pre-processing. */
  readonly model: (tf: TensorFlow, shapes: SampleShapes) => LayersModel;
  /**
   * Weights to begin with instead of drawn ones, by name: a checkpoint's folder, a `model.json` of TensorFlow.js, a safetensors
   * file, or a `.h5` or `.keras` file of Keras. Paths as those of the data. What the file does not have is drawn.
   */
  readonly initialWeights?: string;
  /** 5. Compile. */
  readonly compile: CompileDefinition;
  /**
   * How much the samples of each class count in training: by the class's number after pre-processing, 1 for those that are not
   * named. "balanced": so that all classes of the training split count the same. Validation does not know of it, as in Keras.
   */
  readonly classWeight?: ClassWeight;
  /** 6. Which checkpoint is the best one, when checkpoints are written, and how many are kept. */
  readonly checkpoint?: CheckpointDefinition;
  /** 7. Train. `batchSize` is the global batch: all workers together. */
  readonly batchSize: number;
  readonly epochs: number;
  /**
   * In what form gradients travel between workers. "float32" (default): as they are. "bfloat16": half of the bytes; each shard's
   * gradients, and each sum of two of them, are rounded to 8 significant bits. "float16": rounded to 11, and from 65,520 on infinite.
   * Losses, metrics and moving statistics are never rounded.
   */
  readonly wire?: WireFormat;
  /** 8. Evaluate on data that training never sees. */
  readonly test?: DataSource;
  /** Text to print at the end, made with the best model; for instance a sample that it wrote. */
  readonly report?: (context: ReportContext) => string | Promise<string>;
  /**
   * Called by the coordinator while the run goes on, with what is committed: at least once for each event, and again only where a
   * coordinator was lost in the middle of a call. They may wait for something; they decide nothing.
   */
  readonly callbacks?: Callbacks;
}

export type CompileDefinition = {
  readonly optimizer: OptimizerDefinition;
  /** Limits the mean gradient of the global batch before every update. */
  readonly clip?: Clip;
} & (
  | {
      readonly loss: LossDefinition;
      readonly metrics?: readonly MetricName[];
      readonly step?: undefined;
      readonly outputs?: undefined;
    }
  /**
   * Of a model with several outputs, what each is trained for, by the names of the layers that give them. What is told of them is
   * `<name>_loss` and `<name>_<metric>`.
   */
  | {
      readonly outputs: Readonly<Record<string, OutputDefinition>>;
      readonly loss?: undefined;
      readonly metrics?: undefined;
      readonly step?: undefined;
    }
  /** In place of a loss: how a batch becomes the loss of each sample, and the metrics that are listed. */
  | {
      readonly step: StepFunction;
      readonly metrics?: readonly string[];
      readonly loss?: undefined;
      readonly outputs?: undefined;
    }
);

export type ClassWeight = "balanced" | Readonly<Record<number, number>>;

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
  /** A text as raw feature values, of any length: its characters, or its pieces where the job's text has `tokens`. */
  readonly encodeText: (text: string) => number[];
  /** The raw label value that an output index stands for: the label's pre-processing backwards. */
  readonly decodeLabel: DecodeLabel;
}

/** Of a category its text, of all other labels a number. */
export type DecodeLabel = <Value extends number | string = number>(index: number) => Value;

export type DataSource = CsvSource | TextSource | IdxSource | NpySource | NpzSource | JsonLinesSource | FormatSource;

/** What may stand between the cells of a line. */
export const separators = [",", ";", "\t"] as const;
export type Separator = (typeof separators)[number];

/** Files of cells with a header row; every other cell is a number, but for columns of which something else is said. */
export interface CsvSource extends TableColumns {
  readonly kind: "csv";
  /**
   * Relative to `--data`; without it, to the folder `data` beside the job file, or to the job file's own. "*" in its last part stands for
   * any characters: all files that match are one set of samples, in the order of their names, with one header. Or objects, as
   * `s3://bucket/folder/part-*.csv`.
   */
  readonly path: string;
  /** The header of the column to predict, or of several, as ["x", "y"]; all others are features, in file order. */
  readonly label: string | readonly string[];
  /** Default ",". */
  readonly separator?: Separator;
  /** Columns that are no features, by their headers. */
  readonly ignore?: readonly string[];
  /** The header of a column that says how much each sample counts in training; no feature. Left out: all count the same. */
  readonly weight?: string;
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
  /** What a window consists of, in place of characters: pieces that are frequent in the training part of the text. */
  readonly tokens?: BytePairTokens;
}

/** Byte-pair encoding. */
export interface BytePairTokens {
  readonly kind: "byte-pair";
  /** So many pieces at most, 257 to 65,536; 256 of them are the bytes. */
  readonly size: number;
}

/**
 * Two IDX files, plain or gzip, as those of MNIST. The first dimension counts the samples, the others are a sample's shape.
 * Paths as those of `CsvSource`; several files of features have as many of labels, which belong together in the order of their names.
 */
export interface IdxSource {
  readonly kind: "idx";
  readonly features: string;
  readonly labels: string;
  /** Whether the features get a last dimension of 1, as convolutions want it of images in shades of grey. */
  readonly channels: boolean;
}

/** NPY files, as NumPy's `save` writes them: with the features, and with the label. Paths as those of `IdxSource`. */
export interface NpySource {
  readonly kind: "npy";
  readonly features: string;
  readonly label: string;
}

/** Two arrays of NPZ files, as NumPy's `savez` and `savez_compressed` write it. */
export interface NpzSource {
  readonly kind: "npz";
  /** A file, or several with arrays of these names: "*" in its last part stands for any characters. */
  readonly path: string;
  /** Names of arrays. */
  readonly features: string;
  readonly label: string;
}

/**
 * Files with a JSON object in each line. Values are numbers, booleans, or lists of numbers of one shape, but for fields of which
 * something else is said. Where something may be missing, null is missing, and so is a field that is not there.
 */
export interface JsonLinesSource extends TableColumns {
  readonly kind: "json-lines";
  /** A file, or several: "*" in its last part stands for any characters. */
  readonly path: string;
  /** Names of fields, one after the other in a sample; a single one that holds lists keeps their shape. */
  readonly features: readonly string[];
  /** Several, as ["x", "y"], lie one after the other in a sample's label. */
  readonly label: string | readonly string[];
  /** The field that says how much a sample counts in training. Left out: all count the same. */
  readonly weight?: string;
}

export interface CheckpointDefinition {
  /** A metric of the job, or its `val_…`. Left out: `val_loss`, or `loss` without validation. */
  readonly monitor?: string;
  /** "auto" (default): losses and errors as small, accuracy as large as possible. */
  readonly mode?: "min" | "max" | "auto";
  /** Better by this much or less is no improvement. Default 0. */
  readonly minDelta?: number;
  /** The first best has to be better than this. Left out: any finite value will do. */
  readonly initialValueThreshold?: number;
  /**
   * How many checkpoints stay: the `last` newest (2, `latest` among them), the `best` best (1), and, if given, one in
   * `everyHours`. `latest`, `best` and what is pinned always stay.
   */
  readonly keep?: { readonly last?: number; readonly best?: number; readonly everyHours?: number };
  /**
   * When `latest` moves: at every epoch's end ("epoch", default), and besides after every so many steps or minutes. `best`
   * moves at an epoch's end alone.
   */
  readonly saveFreq?: SaveFrequency;
  /**
   * Nothing stays but `latest`, which a run goes on from, and `best`, or the `keep.best` best. While the newest epoch is the best
   * one, that is a single checkpoint, with nothing to go back to should it be damaged.
   */
  readonly saveBestOnly?: boolean;
  /** Ends the run before its last epoch once the monitored metric gets no better. */
  readonly earlyStopping?: {
    /** So many epochs in a row without improvement. */
    readonly patience: number;
    /** Better by this much or less is no improvement. Default 0. */
    readonly minDelta?: number;
    /** `latest` keeps the last epoch's weights and `best` the best ones, whatever this says; so it can only be true. */
    readonly restoreBest?: true;
    /** So many epochs are not looked at. Default 0. */
    readonly startFromEpoch?: number;
  };
}

export type SaveFrequency = "epoch" | { readonly steps: number } | { readonly minutes: number };

/** With every default filled in. */
export interface CheckpointRule {
  readonly monitor: string;
  readonly mode: "min" | "max";
  readonly minDelta: number;
  readonly initialValueThreshold: number | null;
  readonly saveFreq: SaveFrequency;
  readonly keep: KeepRule;
  readonly earlyStopping: EarlyStopping | null;
}

export type Clip =
  /** Every single number to [−value, value]. */
  | { readonly value: number }
  /** All numbers by one factor, so that the root of the sum of their squares is at most this. */
  | { readonly globalNorm: number };

/** A length of training. */
export type Span = { readonly steps: number } | { readonly epochs: number };

export type LearningRate = number | LearningRateSchedule;

/** `initial` is the rate once the warm-up, if there is one, is over; during it the rate rises to that from 0. */
export type LearningRateSchedule = { readonly initial: number; readonly warmup?: Span } & (
  | { readonly kind: "constant" }
  /** Multiplied by `factor` at once, whenever another `every` is over. */
  | { readonly kind: "step"; readonly factor: number; readonly every: Span }
  /** Multiplied by `factor` little by little, in each `every`. */
  | { readonly kind: "exponential"; readonly factor: number; readonly every: Span }
  /** Falls along half a cosine to `final` (0); `over` is the rest of the job where it is left out. */
  | { readonly kind: "cosine"; readonly final?: number; readonly over?: Span }
  /** Multiplied by `factor` (0.1) after `patience` (10) epochs in which the monitored metric got no better. */
  | {
      readonly kind: "plateau";
      readonly factor?: number;
      readonly patience?: number;
      /** Less than this (1e-4) is no improvement. */
      readonly minDelta?: number;
      /** After a cut, counting begins again with this epoch (0 and 1: the next one), as in Keras. */
      readonly cooldown?: number;
      /** Never below this (0). */
      readonly minimum?: number;
      /** Left out: that of `checkpoint`. */
      readonly monitor?: string;
      /** Left out: whatever is better of what is monitored. A metric of the job's own says it here, or in `checkpoint`. */
      readonly mode?: "min" | "max";
    }
);

export type OptimizerDefinition =
  | {
      readonly kind: "sgd";
      readonly learningRate: LearningRate;
      readonly momentum?: number;
      readonly nesterov?: boolean;
    }
  | {
      readonly kind: "rmsprop";
      readonly learningRate: LearningRate;
      readonly rho?: number;
      readonly epsilon?: number;
    }
  | {
      readonly kind: "adagrad";
      readonly learningRate: LearningRate;
      readonly initialAccumulator?: number;
      readonly epsilon?: number;
    }
  | {
      readonly kind: "adam";
      readonly learningRate: LearningRate;
      readonly beta1?: number;
      readonly beta2?: number;
      readonly epsilon?: number;
      /** Decoupled weight decay (AdamW). */
      readonly weightDecay?: number;
    };

/** What `defineJob` returns of a job with parameters, which `--param NAME=VALUE` gives other values than these. */
export interface JobWithParams {
  readonly defaults: ParamValues;
  readonly make: (params: ParamValues) => JobDefinition;
}

/** A job with every default filled in; plain data but for the functions. */
export interface Job {
  readonly name: string;
  readonly seed: number;
  readonly data: DataSource;
  readonly preprocess: { readonly features: readonly Transform[]; readonly label: readonly Transform[] };
  readonly augment: readonly Augmentation[];
  readonly validation: ValidationRule | null;
  readonly model: JobDefinition["model"];
  readonly initialWeights: string | null;
  readonly optimizer: OptimizerDefinition;
  readonly loss: LossName | "custom";
  readonly lossSettings: LossSettings;
  /** What computes a custom loss: from labels and outputs, or from the batch. */
  readonly customLoss: CustomLoss | null;
  readonly step: StepFunction | null;
  /** Of a model with several outputs, what each is trained for; `loss` is then "custom". */
  readonly outputs: readonly OutputRule[] | null;
  /** As they are told: those of `step` have names of their own, those of `outputs` their output's name in front. */
  readonly metrics: readonly string[];
  readonly clip: Clip | null;
  readonly classWeight: ClassWeight | null;
  readonly checkpoint: CheckpointRule;
  readonly batchSize: number;
  readonly epochs: number;
  readonly wire: WireFormat;
  readonly test: DataSource | null;
  readonly report: NonNullable<JobDefinition["report"]> | null;
  readonly callbacks: Callbacks | null;
  /** What was said beside the job file, and is in the fields above. */
  readonly settings: JobSettings;
  /** The values of all its parameters; null: it has none. */
  readonly params: ParamValues | null;
}
