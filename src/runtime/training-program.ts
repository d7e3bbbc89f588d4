/**
 * A job's model as steps of the engine: gradients of a shard, validation of a shard, and the update. The engine holds the
 * state; nothing is hidden in the model's variables, so that an engine may run the steps op by op or as recorded graphs.
 * Outside, weights, slots and gradients are one row of float32 each, in the model's order: trainable weights first, then the
 * statistics that layers such as batch normalization keep.
 */
import type { Tensor, Variable } from "@tensorflow/tfjs";
import { assert } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import { rateAt, slotsOf } from "../core/optimizer.ts";
import { RandomStream } from "../core/random.ts";
import { isAligned } from "../core/row-memory.ts";
import type { Engine, EngineState, LayersModel, RecordedStep, RecordedUpdate } from "../ports/engine.ts";
import { readTensor } from "../ports/read-tensor.ts";
import { buildModel, ofTheModel } from "./build-model.ts";
import { lossOfSamples, metricOfSamples } from "./losses.ts";
import { applyOptimizer, clipped } from "./optimizer-step.ts";
import { seeded } from "../ports/seeded.ts";

/** One weight of the model and where it lies in the row. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly size: number;
  readonly offset: number;
  readonly trainable: boolean;
}

/** Samples as the model takes them, after pre-processing. */
export interface Batch {
  readonly count: number;
  readonly features: Float32Array;
  readonly label: Float32Array;
}

export class TrainingProgram {
  readonly engine: Engine;
  readonly model: LayersModel;
  readonly parameters: readonly Parameter[];
  /** Number of weights, and how many of them are trainable; those come first. */
  readonly weightCount: number;
  readonly trainableCount: number;
  readonly slotNames: readonly string[];
  /** What one sample is summed up to, in this order: the loss, then each metric. */
  readonly sumNames: readonly string[];
  readonly #job: Job;
  readonly #shapes: { readonly features: readonly number[]; readonly label: readonly number[] };
  readonly #variables: readonly Variable[];
  /** One tensor a weight, then for each slot one a trainable weight. */
  readonly #state: EngineState;
  readonly #gradients: RecordedStep;
  readonly #validation: RecordedStep;
  readonly #update: RecordedUpdate;

  /**
   * @param names of the parameters, in their order, where this thread has built the model before: layers without a name are counted,
   * and what is built again would be called otherwise in its checkpoints
   */
  constructor(
    engine: Engine,
    job: Job,
    shapes: { features: readonly number[]; label: readonly number[] },
    names: readonly string[] | null = null,
  ) {
    this.engine = engine;
    this.#job = job;
    this.#shapes = shapes;
    this.model = seeded(new RandomStream(job.seed, "initial-weights"), () => buildModel(engine, job, shapes));
    // LayerVariable.read() gives the tf.Variable behind it, typed as a tensor.
    this.#variables = this.model.weights.map((weight) => weight.read() as Variable);
    const trainable = new Set(this.model.trainableWeights.map((weight) => weight.name));
    let offset = 0;
    assert(names === null || names.length === this.model.weights.length, "the same job file builds the same model");
    this.parameters = this.model.weights.map((weight, i) => {
      const shape = weight.shape as number[]; // a built model's weights have whole shapes
      const size = shape.reduce((a, b) => a * b, 1);
      offset += size;
      return {
        name: names?.[i] ?? weight.name,
        shape,
        size,
        offset: offset - size,
        trainable: trainable.has(weight.name),
      };
    });
    this.weightCount = offset;
    const firstStatistic = this.parameters.findIndex((parameter) => !parameter.trainable);
    assert(
      firstStatistic < 0 || this.parameters.slice(firstStatistic).every((parameter) => !parameter.trainable),
      "a model lists its trainable weights first",
    );
    this.trainableCount = this.parameters.reduce((sum, { trainable, size }) => sum + (trainable ? size : 0), 0);
    this.slotNames = slotsOf(job.optimizer).map((slot) => slot.name);
    this.sumNames = ["loss", ...job.metrics];
    const shapesOfSlots = this.slotNames.flatMap(() => this.#trainableParameters.map(({ shape }) => shape));
    this.#state = engine.hold([...this.parameters.map(({ shape }) => shape), ...shapesOfSlots]);
    this.#gradients = ofTheModel(
      "a step",
      this.#state.record("gradients", (state, inputs) => this.#gradientStep(state, inputs)),
    );
    this.#validation = ofTheModel(
      "validation",
      this.#state.record("validation", (state, inputs) => this.#validationStep(state, inputs)),
    );
    this.#update = this.#state.recordUpdate("update", (state, inputs) => this.#updateStep(state, inputs));
    this.load(this.#initialValues());
  }

  /** Length of the row that `save` gives: weights, then slots (which only trainable weights have). */
  get valueCount(): number {
    return this.weightCount + this.slotNames.length * this.trainableCount;
  }

  /** Replaces the state. */
  load(values: Float32Array): void {
    this.#state.load(this.#places.map((place) => partOf(values, place)));
  }

  /** Copies the state, into `into` where it is given. */
  save(into?: Float32Array): Float32Array {
    const values = into ?? new Float32Array(this.valueCount);
    const tensors = this.#state.tensors();
    for (const [i, place] of this.#places.entries()) readTensor(tensors[i]!, partOf(values, place));
    this.engine.tf.dispose(tensors);
    return values;
  }

  /** Where each of the state's tensors lies in the row. */
  get #places(): readonly { readonly offset: number; readonly size: number }[] {
    const slots = this.slotNames.flatMap((_, i) =>
      this.#trainableParameters.map(({ offset, size }) => ({
        offset: this.weightCount + i * this.trainableCount + offset,
        size,
      })),
    );
    return [...this.parameters, ...slots];
  }

  /**
   * The gradients of one shard, times its number of samples, and after them the new values of the statistics, times
   * the same: sums over samples, as they go into the reduction. Adds `sumNames`' sums in `sums`, from its beginning.
   */
  gradients(batch: Batch, random: RandomStream, row: Float32Array, sums: Float64Array): void {
    const parts = this.parameters.map((parameter) => partOf(row, parameter));
    const run = (inputs: readonly Tensor[]) => this.#gradients.run(inputs, parts);
    this.#compute(batch, random, run, ([totals]) => sums.set(totals!.dataSync<"float32">()));
  }

  /** The sums of loss and metrics over the samples, without training. A layer may draw random numbers here too. */
  validate(batch: Batch, random: RandomStream, sums: Float64Array): void {
    this.#compute(batch, random, this.#validation.run, ([totals]) => sums.set(totals!.dataSync<"float32">()));
  }

  /** All that the model computes, a step and validation, op by op: for those who want to see the ops. */
  trace(batch: Batch, random: RandomStream): void {
    const look = (outputs: readonly Tensor[]) => {
      for (const output of outputs) output.dataSync();
    };
    this.#compute(batch, random, this.#gradients.trace, look);
    this.#compute(batch, random, this.#validation.trace, look);
  }

  /** Puts the state's weights into the model, for whoever uses it directly. */
  useWeights(): void {
    const tensors = this.#state.tensors();
    this.#assign(tensors);
    this.engine.tf.dispose(tensors);
  }

  /** Applies the sums over all shards: the update with this number, from 1. All or nothing. */
  update(row: Float32Array, samples: number, update: { number: number; learningRate: number }): void {
    const rate = rateAt(this.#job.optimizer, update.learningRate, update.number);
    const inputs = this.#updateInputs(row, samples, rate, update.learningRate);
    this.#update.run(inputs);
    this.engine.tf.dispose(inputs);
  }

  /**
   * Gets ready for batches with so many samples: engines that record do it now, and not in the first step. The state stays as
   * it is.
   */
  prepare(counts: { readonly training: readonly number[]; readonly validation: readonly number[] }): void {
    const { tf } = this.engine;
    const update = this.#updateInputs(new Float32Array(this.weightCount), 1, 0, 0);
    this.#update.prepare(update);
    tf.dispose(update);
    const batches = [
      ...counts.training.map((count) => ({ step: this.#gradients, count })),
      ...counts.validation.map((count) => ({ step: this.#validation, count })),
    ];
    for (const { step, count } of batches) {
      const inputs = this.#batchInputs(this.#emptyBatch(count));
      step.prepare(inputs);
      tf.dispose(inputs);
    }
    this.#gradients.warmUp();
    this.#validation.warmUp();
  }

  #emptyBatch(count: number): Batch {
    const { features, label } = this.#shapes;
    const values = (shape: readonly number[]) => new Float32Array(count * shape.reduce((a, b) => a * b, 1));
    return { count, features: values(features), label: values(label) };
  }

  #updateInputs(row: Float32Array, samples: number, rate: number, learningRate: number): Tensor[] {
    const { tf } = this.engine;
    const values = (part: Float32Array) => (isAligned(part) ? part : part.slice());
    return [
      ...this.parameters.map((parameter) => tf.tensor(values(partOf(row, parameter)), [...parameter.shape])),
      ...[samples, rate, learningRate].map((value) => tf.scalar(value)),
    ];
  }

  #batchInputs({ count, features, label }: Batch): Tensor[] {
    const { tf } = this.engine;
    return [
      tf.tensor(features, [count, ...this.#shapes.features]),
      tf.tensor(label, [count, ...this.#shapes.label]),
      tf.scalar(count),
    ];
  }

  get #trainableParameters(): readonly Parameter[] {
    return this.parameters.filter((parameter) => parameter.trainable);
  }

  #compute(
    batch: Batch,
    random: RandomStream,
    run: (inputs: readonly Tensor[]) => Tensor[],
    take: (outputs: Tensor[]) => void,
  ): void {
    const { tf } = this.engine;
    const inputs = this.#batchInputs(batch);
    try {
      const outputs = seeded(random, () => run(inputs));
      take(outputs);
      tf.dispose(outputs);
    } finally {
      tf.dispose(inputs);
    }
  }

  /** Inputs: features, label, count. Outputs: a part of the row for each weight, in its shape; the sums. */
  #gradientStep(state: readonly Tensor[], [features, label, count]: readonly Tensor[]): Tensor[] {
    const { tf } = this.engine;
    this.#assign(state);
    const trainable = this.#variables.filter((_, i) => this.parameters[i]!.trainable);
    const sums: Tensor[] = [];
    try {
      const { value, grads } = tf.variableGrads(() => {
        const output = this.model.apply(features!, { training: true }) as Tensor; // one output, one tensor
        const loss = this.#lossSum(label!, output, count!);
        // Nothing else than the loss outlives this function.
        sums.push(tf.keep(this.#sums(loss, label!, output)));
        return loss.asScalar();
      }, trainable);
      const parts = this.parameters.map((parameter, i) => {
        const variable = this.#variables[i]!;
        // A weight that the loss does not depend on has no gradient.
        return parameter.trainable ? (grads[variable.name] ?? tf.zerosLike(variable)) : variable.mul(count!);
      });
      value.dispose();
      // What is kept no scope disposes of; the clone is this scope's.
      return [...parts, sums[0]!.clone()];
    } finally {
      tf.dispose(sums);
    }
  }

  /** Inputs: features, label, count. Output: the sums. */
  #validationStep(state: readonly Tensor[], [features, label, count]: readonly Tensor[]): Tensor[] {
    this.#assign(state);
    const output = this.model.apply(features!) as Tensor; // one output, one tensor
    return [this.#sums(this.#lossSum(label!, output, count!), label!, output)];
  }

  /**
   * Inputs: gradient sums and statistics sums, one a weight; samples, rate, learning rate. Outputs: the state.
   */
  #updateStep(state: readonly Tensor[], inputs: readonly Tensor[]): Tensor[] {
    const { engine } = this;
    const { clip, optimizer } = this.#job;
    const [samples, rate, learningRate] = inputs.slice(this.parameters.length) as [Tensor, Tensor, Tensor];
    const means = this.parameters.map((_, i) => inputs[i]!.div(samples));
    const count = this.#trainableParameters.length;
    const gradients = clip ? clipped(engine.tf, clip, means.slice(0, count)) : means.slice(0, count);
    const slotsOfWeight = (i: number) =>
      this.slotNames.map((_, slot) => state[this.parameters.length + slot * count + i]!);
    const updated = gradients.map((gradient, i) =>
      applyOptimizer(engine, optimizer, { weight: state[i]!, slots: slotsOfWeight(i) }, gradient, {
        rate,
        learningRate,
      }),
    );
    const slots = this.slotNames.flatMap((_, slot) => updated.map((one) => one.slots[slot]!));
    return [...updated.map(({ weight }) => weight), ...means.slice(count), ...slots];
  }

  /** The loss over the shard's samples: the mean of the samples' losses and the penalties, times the count. */
  #lossSum(label: Tensor, output: Tensor, count: Tensor): Tensor {
    const penalties = this.model.calculateLosses();
    const mean = lossOfSamples(this.engine.tf, this.#job.loss, label, output).mean();
    return penalties.reduce<Tensor>((sum, penalty) => sum.add(penalty), mean).mul(count);
  }

  #sums(loss: Tensor, label: Tensor, output: Tensor): Tensor {
    const { tf } = this.engine;
    const { metrics, loss: name } = this.#job;
    return tf.stack([
      loss.asScalar(),
      ...metrics.map((metric) => metricOfSamples(tf, metric, name, label, output).sum().asScalar()),
    ]);
  }

  #assign(weights: readonly Tensor[]): void {
    for (const [i, variable] of this.#variables.entries()) variable.assign(weights[i]!);
  }

  #initialValues(): Float32Array {
    const values = new Float32Array(this.valueCount);
    for (const [i, { offset }] of this.parameters.entries()) {
      values.set(this.#variables[i]!.dataSync<"float32">(), offset);
    }
    slotsOf(this.#job.optimizer).forEach(({ initialValue }, i) => {
      const begin = this.weightCount + i * this.trainableCount;
      values.fill(initialValue, begin, begin + this.trainableCount);
    });
    return values;
  }
}

function partOf(row: Float32Array, { offset, size }: { readonly offset: number; readonly size: number }): Float32Array {
  return row.subarray(offset, offset + size);
}
