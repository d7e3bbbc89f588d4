/**
 * Epochs as TensorBoard shows them, in the folders and under the tags that Keras uses: `train` and `validation`, `epoch_loss` and
 * so on. Whoever leads writes an epoch between its commit and its checkpoint, so a leader that dies leaves at most what the next
 * one still has to publish, and therefore writes. What is there is read first: every committed epoch is there once.
 */
import { join } from "node:path";
import { orderedMetrics } from "../../core/run-result.ts";
import type { EpochHistory } from "../../core/status.ts";
import type { NamedTensor } from "../../ports/checkpoint-storage.ts";
import type { EpochLog, LoggedBoundary } from "../../ports/epoch-log.ts";
import { type EpochValues, EventFolder } from "./event-folder.ts";
import type { SummaryValue } from "./events.ts";
import { histogramOf } from "./histogram.ts";

export const histogramKinds = ["weights", "gradients"] as const;
export type HistogramKind = (typeof histogramKinds)[number];

export interface TensorBoardOptions {
  readonly directory: string;
  /** A name for the files that this process writes. */
  readonly writer: string;
  readonly histograms: readonly HistogramKind[];
  /** The model's layers, as JSON in Keras' form; null where they are not known. */
  readonly topology: string | null;
  /** Wall-clock time in ms. */
  readonly clock: () => number;
}

/** Metrics of the validation data are named so, and have a folder of their own. */
const validationPrefix = "val_";

export class TensorBoardLog implements EpochLog {
  readonly #options: TensorBoardOptions;
  #folders: { readonly train: EventFolder; readonly validation: EventFolder } | null = null;
  /** Under which the folders were read. */
  #token: number | null = null;

  constructor(options: TensorBoardOptions) {
    this.#options = options;
  }

  async record(boundary: LoggedBoundary): Promise<void> {
    const { topology } = this.#options;
    const { history, token } = boundary;
    const { train, validation } = await this.#opened(token);
    const model: SummaryValue | null = topology === null ? null : { kind: "model", tag: "keras", json: topology };
    const histograms = await this.#histograms(boundary);
    try {
      await train.write(
        model,
        history.map((record, i) => ({
          epoch: record.epoch,
          values: [...scalars(record, false), ...(i === history.length - 1 ? histograms : [])],
        })),
      );
      await validation.write(null, validated(history));
    } catch (error) {
      // What is written after half of an event would not be read.
      this.#token = null;
      throw error;
    }
  }

  async #opened(token: number): Promise<{ readonly train: EventFolder; readonly validation: EventFolder }> {
    if (this.#folders && this.#token === token) return this.#folders;
    const { directory, writer, clock } = this.#options;
    const open = (name: string) => EventFolder.open(join(directory, name), writer, clock);
    this.#folders = { train: await open("train"), validation: await open("validation") };
    this.#token = token;
    return this.#folders;
  }

  /** Of the boundary's epoch; those of epochs before it are known to nobody any more. */
  async #histograms({ history, weights, gradients }: LoggedBoundary): Promise<SummaryValue[]> {
    const { histograms } = this.#options;
    if (history.length === 0 || histograms.length === 0) return [];
    const of = async (tensors: readonly NamedTensor[], kind: string) => {
      const values: SummaryValue[] = [];
      for (const { name, values: numbers } of tensors) {
        values.push({ kind: "histogram", tag: `${name}/${kind}`, buckets: await histogramOf(numbers) });
      }
      return values;
    };
    return [
      ...(histograms.includes("weights") ? await of(weights(), "histogram") : []),
      ...(histograms.includes("gradients") ? await of((await gradients()) ?? [], "gradient_histogram") : []),
    ];
  }
}

function validated(history: readonly EpochHistory[]): EpochValues[] {
  const all = history.map((record) => ({ epoch: record.epoch, values: scalars(record, true) }));
  return all.filter(({ values }) => values.length > 0);
}

/** Keras calls the learning rate `epoch_learning_rate`, also as a metric of the training data. */
function scalars({ metrics }: EpochHistory, ofValidation: boolean): SummaryValue[] {
  return orderedMetrics(metrics)
    .filter(([name]) => name.startsWith(validationPrefix) === ofValidation)
    .map(([name, value]) => {
      const plain = ofValidation ? name.slice(validationPrefix.length) : name;
      return { kind: "scalar", tag: `epoch_${plain === "learningRate" ? "learning_rate" : plain}`, value };
    });
}
