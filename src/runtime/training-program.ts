/**
 * A job's model as steps of the engine: gradients of a shard, validation of a shard, and the update. The engine holds the
 * state; nothing is hidden in the model's variables, so that an engine may run the steps op by op or as recorded graphs.
 * Outside, weights, slots and gradients are one row of float32 each: trainable weights first, then the statistics that layers
 * such as batch normalization keep, and last what is frozen; each kind in the model's order.
 */
import type { Tensor, Variable } from "@tensorflow/tfjs";
import type { ClassNumbers } from "../core/class-check.ts";
import type { Job } from "../core/job.ts";
import { rateAt, slotsOf } from "../core/optimizer.ts";
import { RandomStream } from "../core/random.ts";
import { isAligned } from "../core/row-memory.ts";
import type { NameWeights } from "../core/weight-names.ts";
import type { Engine, EngineState, LayersModel, RecordedStep, RecordedUpdate } from "../ports/engine.ts";
import { readTensor } from "../ports/read-tensor.ts";
import { type Beginning, beginWith, type Fit } from "./begin-with.ts";
import { buildModel, ofTheModel } from "./build-model.ts";
import { layerSettings } from "./layer-settings.ts";
import { isWeighted, Objective, type BatchTensors } from "./objective.ts";
import { applyOptimizer, clipped } from "./optimizer-step.ts";
import { sortedWeights, type WeightKind } from "./weight-kinds.ts";
import { seeded } from "../ports/seeded.ts";

/** One weight of the model and where it lies in the row. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly size: number;
  readonly offset: number;
  readonly kind: WeightKind;
}

/** Samples as the model takes them, after pre-processing. */
export interface Batch {
  readonly count: number;
  readonly features: Float32Array;
  readonly label: Float32Array;
  /** How much each sample counts, where the job has weights; left out, each counts 1. */
  readonly weight?: Float32Array;
}

export class TrainingProgram {
  readonly engine: Engine;
  readonly model: LayersModel;
  readonly parameters: readonly Parameter[];
  /**
   * Number of weights; how many of them are trainable, which come first; and how many are trainable or statistics, which is what
   * the row of gradients has.
   */
  readonly weightCount: number;
  readonly trainableCount: number;
  readonly reducedCount: number;
  readonly slotNames: readonly string[];
  /** What of the given weights it has begun with; null where all were drawn. */
  readonly fit: Fit | null;
  readonly #objective: Objective;
  readonly #job: Job;
  readonly #shapes: { readonly features: readonly number[]; readonly label: readonly number[] };
  readonly #variables: readonly Variable[];
  /** One tensor a weight, then for each slot one a trainable weight. */
  readonly #state: EngineState;
  readonly #gradients: RecordedStep;
  readonly #validation: RecordedStep;
  readonly #update: RecordedUpdate;

  /**
   * @param nameWeights gives the parameters their names in checkpoints, where this thread has built a model before
   * @param beginning weights that take the place of drawn ones
   */
  constructor(
    engine: Engine,
    job: Job,
    shapes: { features: readonly number[]; label: readonly number[] },
    nameWeights: NameWeights | null = null,
    beginning: Beginning | null = null,
  ) {
    this.engine = engine;
    this.#job = job;
    this.#shapes = shapes;
    this.model = seeded(new RandomStream(job.seed, "initial-weights"), () => buildModel(engine, job, shapes));
    this.#objective = new Objective(engine.tf, job, this.model, shapes);
    const sorted = seeded(new RandomStream(job.seed, "initial-weights", 1), () =>
      sortedWeights(engine.tf, this.model, () => this.#objective.compute(this.#oneSample(), true)),
    );
    this.#variables = sorted.map(({ variable }) => variable);
    const names = nameWeights?.(sorted) ?? sorted.map(({ name }) => name);
    let offset = 0;
    this.parameters = sorted.map(({ shape, kind }, i) => {
      const size = shape.reduce((a, b) => a * b, 1);
      offset += size;
      return { name: names[i]!, shape, size, offset: offset - size, kind };
    });
    const countOf = (...kinds: readonly Parameter["kind"][]) =>
      this.parameters.reduce((sum, { kind, size }) => sum + (kinds.includes(kind) ? size : 0), 0);
    this.weightCount = offset;
    this.trainableCount = countOf("trainable");
    this.reducedCount = countOf("trainable", "statistic");
    this.slotNames = slotsOf(job.optimizer).map((slot) => slot.name);
    const shapesOfSlots = this.slotNames.flatMap(() => this.#trainableParameters.map(({ shape }) => shape));
    this.#state = engine.hold([...this.parameters.map(({ shape }) => shape), ...shapesOfSlots]);
    this.#gradients = ofTheModel(
      "a step",
      this.#state.record("gradients", (state, inputs) => this.#gradientStep(state, inputs), this.#reduced.length),
    );
    this.#validation = ofTheModel(
      "validation",
      this.#state.record("validation", (state, inputs) => this.#validationStep(state, inputs)),
    );
    this.#update = this.#state.recordUpdate("update", (state, inputs) => this.#updateStep(state, inputs));
    const values = this.#initialValues();
    this.fit =
      beginning &&
      beginWith(beginning, this.parameters, layerSettings(this.model), ({ offset }, given) =>
        values.set(given, offset),
      );
    this.load(values);
  }

  /** What a batch is summed up to: core/metric-sums.ts makes loss and metrics of it. */
  get sumNames(): readonly string[] {
    return this.#objective.sumNames;
  }

  /** What of a label are numbers of classes. */
  get classNumbers(): readonly ClassNumbers[] {
    return this.#objective.classNumbers;
  }

  /** Where in the row of gradients and statistics each parameter's part ends. */
  get partEnds(): readonly number[] {
    return this.#reduced.map(({ offset, size }) => offset + size);
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
   * @param written has a number for each of `partEnds`, set to 1 when the row's part that ends there is written
   */
  gradients(batch: Batch, random: RandomStream, row: Float32Array, sums: Float64Array, written?: Int32Array): void {
    const parts = this.#reduced.map((parameter) => partOf(row, parameter));
    const run = (inputs: readonly Tensor[]) => this.#gradients.run(inputs, parts, written);
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

  /**
   * Applies the sums over all shards: the update with this number, from 1. All or nothing.
   * @param update.weight the sum of the samples' weights, which gradients are divided by where samples have some; else their number
   */
  update(row: Float32Array, samples: number, update: { number: number; learningRate: number; weight: number }): void {
    const rate = rateAt(this.#job.optimizer, update.learningRate, update.number);
    // Of samples that count nothing all sums are 0.
    const inputs = this.#updateInputs(row, [samples, rate, update.learningRate], update.weight || 1);
    this.#update.run(inputs);
    this.engine.tf.dispose(inputs);
  }

  /**
   * Gets ready for batches with so many samples: engines that record do it now, and not in the first step. The state stays as
   * it is.
   */
  prepare(counts: { readonly training: readonly number[]; readonly validation: readonly number[] }): void {
    const { tf } = this.engine;
    const update = this.#updateInputs(new Float32Array(this.reducedCount), [1, 0, 0], 1);
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

  /** @param weight only where samples have weights */
  #updateInputs(row: Float32Array, scalars: readonly number[], weight: number): Tensor[] {
    const { tf } = this.engine;
    const values = (part: Float32Array) => (isAligned(part) ? part : part.slice());
    return [
      ...this.#reduced.map((parameter) => tf.tensor(values(partOf(row, parameter)), [...parameter.shape])),
      ...[...(isWeighted(this.#job) ? [weight] : []), ...scalars].map((value) => tf.scalar(value)),
    ];
  }

  #batchInputs({ count, features, label, weight }: Batch): Tensor[] {
    const { tf } = this.engine;
    return [
      tf.tensor(features, [count, ...this.#shapes.features]),
      tf.tensor(label, [count, ...this.#shapes.label]),
      tf.scalar(count),
      ...(isWeighted(this.#job) ? this.#weightInputs(weight ?? new Float32Array(count).fill(1)) : []),
    ];
  }

  /** As parts of their sum, so that a step multiplies by it last, and penalties likewise; and the sum. */
  #weightInputs(weight: Float32Array): Tensor[] {
    const { tf } = this.engine;
    const sum = Math.fround(weight.reduce((total, one) => total + one, 0));
    const parts = sum === 0 ? new Float32Array(weight.length) : weight.map((one) => one / sum);
    return [tf.tensor(parts, [parts.length]), tf.scalar(sum)];
  }

  #oneSample(): BatchTensors {
    return batchOf(this.#batchInputs(this.#emptyBatch(1)));
  }

  get #trainableParameters(): readonly Parameter[] {
    return this.parameters.filter(({ kind }) => kind === "trainable");
  }

  /** What shards add up: all but what is frozen. */
  get #reduced(): readonly Parameter[] {
    return this.parameters.filter(({ kind }) => kind !== "frozen");
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

  /** Inputs: those of a batch. Outputs: a part of the row for each weight that is not frozen, in its shape; the sums. */
  #gradientStep(state: readonly Tensor[], inputs: readonly Tensor[]): Tensor[] {
    const { tf } = this.engine;
    const batch = batchOf(inputs);
    this.#assign(state);
    const trainable = this.#variables.filter((_, i) => this.parameters[i]!.kind === "trainable");
    const kept: Tensor[] = [];
    try {
      const { value, grads } = tf.variableGrads(() => {
        const { loss, sums } = this.#objective.compute(batch, true);
        // Nothing else than the loss outlives this function.
        kept.push(tf.keep(sums));
        return loss.asScalar();
      }, trainable);
      const parts = this.#reduced.map(({ kind }, i) => {
        const variable = this.#variables[i]!;
        // A weight that the loss does not depend on has no gradient.
        return kind === "trainable" ? (grads[variable.name] ?? tf.zerosLike(variable)) : variable.mul(batch.count);
      });
      value.dispose();
      // What is kept no scope disposes of; the clone is this scope's.
      return [...parts, kept[0]!.clone()];
    } finally {
      tf.dispose(kept);
    }
  }

  /** Inputs: those of a batch. Output: the sums. */
  #validationStep(state: readonly Tensor[], inputs: readonly Tensor[]): Tensor[] {
    this.#assign(state);
    return [this.#objective.compute(batchOf(inputs), false).sums];
  }

  /**
   * Inputs: gradient sums and statistics sums, one a weight that is not frozen; the sum of the samples' weights, if they have any;
   * samples, rate, learning rate. Outputs: the state.
   */
  #updateStep(state: readonly Tensor[], inputs: readonly Tensor[]): Tensor[] {
    const { engine } = this;
    const { clip, optimizer } = this.#job;
    const [samples, rate, learningRate] = inputs.slice(-3) as [Tensor, Tensor, Tensor];
    const count = this.#trainableParameters.length;
    const reduced = this.#reduced.length;
    const whole = isWeighted(this.#job) ? inputs[reduced]! : samples;
    const means = this.#reduced.map(({ kind }, i) => inputs[i]!.div(kind === "trainable" ? whole : samples));
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
    const frozen = state.slice(reduced, this.parameters.length);
    return [...updated.map(({ weight }) => weight), ...means.slice(count), ...frozen, ...slots];
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

function batchOf([features, label, count, each, sum]: readonly Tensor[]): BatchTensors {
  return { features: features!, label: label!, count: count!, weights: each && sum ? { each, sum } : null };
}
