/**
 * What a job's model is trained for: the sums over a batch's samples of its loss and its metrics. Everything here is a sum over
 * samples, and so is the same however samples are cut into shards.
 */
import type { Tensor } from "@tensorflow/tfjs";
import { LockstepError } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import { sumNamesOf, weightedLossSums } from "../core/metric-sums.ts";
import { hasWeights } from "../core/sample-weight.ts";
import type { LayersModel, TensorFlow } from "../ports/engine.ts";
import { lossOfSamples, oneOfEach, totalOf } from "./losses.ts";
import { sumsOfMetric } from "./metrics.ts";

/** A batch as tensors. */
export interface BatchTensors {
  readonly features: Tensor;
  readonly label: Tensor;
  readonly count: Tensor;
  /** Of each sample, as a part of the sum: [count]; and the sum, a scalar. Null where samples have none. */
  readonly weights: { readonly each: Tensor; readonly sum: Tensor } | null;
}

export interface BatchSums {
  /** Of the samples' losses, each times its weight, and of the penalties as often: what is differentiated. A scalar. */
  readonly loss: Tensor;
  /** As `sumNames` has them: [sums]. */
  readonly sums: Tensor;
}

interface BatchValues {
  /** The loss of each sample. */
  readonly losses: () => Tensor;
  /** Each metric's sums. */
  readonly metrics: () => Tensor[];
}

export class Objective {
  /** What one batch is summed up to, in this order: the loss, then each metric. */
  readonly sumNames: readonly string[];
  /** Of the last dimension of the model's output: the classes of a label that is one. */
  readonly outputs: number;
  readonly #tf: TensorFlow;
  readonly #job: Job;
  readonly #model: LayersModel;

  constructor(tf: TensorFlow, job: Job, model: LayersModel) {
    this.#tf = tf;
    this.#job = job;
    this.#model = model;
    this.outputs = model.outputs[0]?.shape.at(-1) ?? 1;
    this.sumNames = [
      ...(isWeighted(job) ? weightedLossSums : ["loss"]),
      ...job.metrics.flatMap((metric) => (job.step ? [metric] : sumNamesOf(metric, this.outputs))),
    ];
  }

  compute(batch: BatchTensors, training: boolean): BatchSums {
    const { losses, metrics } = this.#job.step ? this.#ofStep(batch, training) : this.#ofOutput(batch, training);
    const sum = this.#lossSum(losses, batch);
    const scalars = [sum.asScalar(), ...(batch.weights ? [batch.weights.sum.clone()] : [])];
    const all = metrics();
    const isFlat = all.every(({ rank }) => rank === 0);
    const sums = isFlat
      ? this.#tf.stack([...scalars, ...all])
      : this.#tf.concat([...scalars, ...all].map((one) => one.flatten()));
    return { loss: sum, sums };
  }

  #ofOutput({ features, label }: BatchTensors, training: boolean): BatchValues {
    const [tf, job] = [this.#tf, this.#job];
    const output = this.#model.apply(features, training ? { training } : undefined) as Tensor; // one output, one tensor
    return {
      losses: () => lossOfSamples(tf, job, label, output),
      metrics: () => job.metrics.map((metric) => sumsOfMetric(tf, metric, job, label, output)),
    };
  }

  #ofStep({ features, label }: BatchTensors, training: boolean): BatchValues {
    const count = features.shape[0]!;
    const batch = { features, label };
    const result = this.#job.step!({ tf: this.#tf, model: this.#model, batch, training });
    const given: Readonly<Record<string, Tensor>> = result.metrics ?? {};
    const unlisted = Object.keys(given).find((name) => !this.#job.metrics.includes(name));
    if (unlisted !== undefined) {
      throw new LockstepError(
        "invalid-job",
        `compile.step gives the metric ${unlisted}, which compile.metrics does not list.`,
        {
          hint: `Write metrics: ${JSON.stringify([...this.#job.metrics, unlisted])}.`,
        },
      );
    }
    return {
      losses: () => oneOfEach(result.loss, count, "The loss of compile.step"),
      metrics: () =>
        this.#job.metrics.map((name) => totalOf(oneOfEach(given[name], count, `The metric ${name} of compile.step`))),
    };
  }

  /** Over the batch: the mean of the samples' losses and the penalties, times the count; with weights, times their sum. */
  #lossSum(losses: () => Tensor, { count, weights }: BatchTensors): Tensor {
    // In this order, since the digest of a step's graph goes by the order of its ops.
    const penalties = this.#model.calculateLosses();
    const values = losses();
    const mean = weights ? values.mul(weights.each).sum() : values.mean();
    return penalties.reduce<Tensor>((sum, penalty) => sum.add(penalty), mean).mul(weights?.sum ?? count);
  }
}

/** Whether samples count unequally. */
export function isWeighted({ classWeight, data }: Pick<Job, "classWeight" | "data">): boolean {
  return classWeight !== null || hasWeights(data);
}
