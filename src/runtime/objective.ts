/**
 * What a job's model is trained for: the sums over a batch's samples of its loss and its metrics. Everything here is a sum over
 * samples, and so is the same however samples are cut into shards.
 */
import type { Tensor } from "@tensorflow/tfjs";
import type { ClassNumbers } from "../core/class-check.ts";
import { LockstepError } from "../core/errors.ts";
import type { Job, SampleShapes } from "../core/job.ts";
import { sumNamesOf, weightedLossSums } from "../core/metric-sums.ts";
import { hasWeights } from "../core/sample-weight.ts";
import type { LayersModel, TensorFlow } from "../ports/engine.ts";
import {
  classesOf,
  classNumbersIn,
  cutUp,
  inputParts,
  outputsIn,
  type OutputPart,
  outputParts,
  type Part,
} from "./cut.ts";
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
  /** What of a label are numbers of classes. */
  readonly classNumbers: readonly ClassNumbers[];
  readonly #tf: TensorFlow;
  readonly #job: Job;
  readonly #model: LayersModel;
  readonly #inputs: readonly Part[];
  readonly #parts: readonly OutputPart[];

  /** @param shapes of one sample, after pre-processing */
  constructor(tf: TensorFlow, job: Job, model: LayersModel, shapes: SampleShapes) {
    this.#tf = tf;
    this.#job = job;
    this.#model = model;
    const classes = model.outputs[0]?.shape.at(-1) ?? 1;
    this.#inputs = job.step ? [] : inputParts(model, shapes.features);
    this.#parts = job.outputs ? outputParts(model, job.outputs, shapes.label) : [];
    const lossNames = isWeighted(job) ? weightedLossSums : ["loss"];
    const ownNames = job.metrics.flatMap((metric) => (job.step ? [metric] : sumNamesOf(metric, classes)));
    const partNames = this.#parts.flatMap(({ rule: { name, metrics }, classes }) =>
      [...lossNames, ...metrics.flatMap((metric) => sumNamesOf(metric, classes))].map((sum) => `${name}_${sum}`),
    );
    this.classNumbers = job.outputs ? classNumbersIn(this.#parts) : ofLoss(job.loss, classes);
    this.sumNames = [...lossNames, ...(job.outputs ? partNames : ownNames)];
  }

  compute(batch: BatchTensors, training: boolean): BatchSums {
    const { losses, metrics } = this.#valuesOf(batch, training);
    const sum = this.#lossSum(losses, batch);
    const scalars = [sum.asScalar(), ...(batch.weights ? [batch.weights.sum.clone()] : [])];
    const all = metrics();
    const isFlat = all.every(({ rank }) => rank === 0);
    const sums = isFlat
      ? this.#tf.stack([...scalars, ...all])
      : this.#tf.concat([...scalars, ...all].map((one) => one.flatten()));
    return { loss: sum, sums };
  }

  #valuesOf(batch: BatchTensors, training: boolean): BatchValues {
    if (this.#job.step) return this.#ofStep(batch, training);
    const inputs = cutUp(this.#tf, batch.features, this.#inputs);
    const made = this.#model.apply(inputs.length === 1 ? inputs[0]! : inputs, training ? { training } : undefined);
    const outputs = outputsIn(made);
    return this.#job.outputs ? this.#ofOutputs(batch, outputs) : this.#ofOutput(batch, outputs[0]!);
  }

  #ofOutput({ label }: BatchTensors, output: Tensor): BatchValues {
    const [tf, job] = [this.#tf, this.#job];
    return {
      losses: () => lossOfSamples(tf, job, label, output),
      metrics: () => job.metrics.map((metric) => sumsOfMetric(tf, metric, job, label, output)),
    };
  }

  #ofOutputs({ label, weights }: BatchTensors, made: readonly Tensor[]): BatchValues {
    const tf = this.#tf;
    const labels = cutUp(
      tf,
      label,
      this.#parts.map((part) => part.label),
    );
    const outputs = this.#parts.map(({ rule, index }, i) => {
      const [given, output] = [labels[i]!, made[index]!];
      return { rule, given, output, losses: lossOfSamples(tf, rule, given, output) };
    });
    const lossSums = (losses: Tensor) =>
      weights ? [losses.mul(weights.each).sum().mul(weights.sum), weights.sum.clone()] : [totalOf(losses)];
    return {
      losses: () =>
        outputs
          .map(({ rule, losses }): Tensor => (rule.lossWeight === 1 ? losses : losses.mul(rule.lossWeight)))
          .reduce((sum, losses) => sum.add(losses)),
      metrics: () =>
        outputs.flatMap(({ rule, given, output, losses }) => [
          ...lossSums(losses),
          ...rule.metrics.map((metric) => sumsOfMetric(tf, metric, rule, given, output)),
        ]),
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

function ofLoss(loss: Job["loss"], classes: number): readonly ClassNumbers[] {
  const taken = classesOf(loss, classes);
  return taken === null ? [] : [{ classes: taken }];
}

/** Whether samples count unequally. */
export function isWeighted({ classWeight, data }: Pick<Job, "classWeight" | "data">): boolean {
  return classWeight !== null || hasWeights(data);
}
