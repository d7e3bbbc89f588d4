/**
 * A job's model as four functions of tensors: gradients of a shard, validation of a shard, the update, and prediction.
 * Each is a step of the engine: all state goes in and comes out, nothing is hidden in the model's variables, so that an
 * engine may run them op by op or as recorded graphs. Weights, slots and gradients are one row of float32 each, in the
 * model's order: trainable weights first, then the statistics that layers such as batch normalization keep.
 */
import type { Tensor, Tensor1D, Variable } from "@tensorflow/tfjs";
import { assert, LockstepError, messageOf } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import { rateAt, slotsOf } from "../core/optimizer.ts";
import { RandomStream } from "../core/random.ts";
import type { Engine, LayersModel, Step } from "../ports/engine.ts";
import { checkOutputShape, lossOfSamples, metricOfSamples } from "./losses.ts";
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

/** Of a row that is copied, at once: 4 MiB. A multiple of 64 bytes, so that the engine shares the memory of a piece with its row. */
const pieceLength = 1024 * 1024;

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
  readonly #gradients: Step;
  readonly #validation: Step;
  readonly #update: Step;
  /** The state: one tensor a weight, and the rows that the update works on. */
  #weights: Tensor[] = [];
  #trainable: Tensor | null = null;
  #slots: Tensor[] = [];

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
    this.#gradients = engine.record("gradients", (inputs) => ofTheModel("a step", () => this.#gradientStep(inputs)));
    this.#validation = engine.record("validation", (inputs) =>
      ofTheModel("validation", () => this.#validationStep(inputs)),
    );
    this.#update = engine.record("update", (inputs) => this.#updateStep(inputs));
    this.load(this.#initialValues());
  }

  /** Length of the row that `save` gives: weights, then slots (which only trainable weights have). */
  get valueCount(): number {
    return this.weightCount + this.slotNames.length * this.trainableCount;
  }

  /** Replaces the state. */
  load(values: Float32Array): void {
    const { tf } = this.engine;
    tf.dispose([...this.#weights, ...this.#slots, ...(this.#trainable ? [this.#trainable] : [])]);
    this.#weights = this.parameters.map(({ offset, size, shape }) =>
      tf.tensor(values.slice(offset, offset + size), [...shape]),
    );
    this.#trainable = tf.tensor1d(values.slice(0, this.trainableCount));
    this.#slots = this.slotNames.map((_, i) => {
      const begin = this.weightCount + i * this.trainableCount;
      return tf.tensor1d(values.slice(begin, begin + this.trainableCount));
    });
  }

  /** Copies the state, into `into` where it is given. */
  save(into?: Float32Array): Float32Array {
    const values = into ?? new Float32Array(this.valueCount);
    this.#read(this.#trainable!, values, 0);
    for (const [i, { offset, trainable }] of this.parameters.entries()) {
      if (!trainable) values.set(this.#weights[i]!.dataSync<"float32">(), offset);
    }
    for (const [i, slot] of this.#slots.entries()) {
      this.#read(slot, values, this.weightCount + i * this.trainableCount);
    }
    return values;
  }

  /**
   * Copies a row in pieces: an engine hands a tensor over in memory of its own, and a piece's memory is used again for the next
   * ones, where that of a whole row would be new, which costs several times the copy.
   */
  #read(row: Tensor, values: Float32Array, offset: number): void {
    if (row.size <= pieceLength) {
      values.set(row.dataSync<"float32">(), offset);
      return;
    }
    for (let begin = 0; begin < row.size; begin += pieceLength) {
      const piece = row.slice([begin], [Math.min(pieceLength, row.size - begin)]);
      values.set(piece.dataSync<"float32">(), offset + begin);
      piece.dispose();
    }
  }

  /**
   * The gradients of one shard, times its number of samples, and after them the new values of the statistics, times
   * the same: sums over samples, as they go into the reduction. Adds `sumNames`' sums in `sums`, from its beginning.
   */
  gradients(batch: Batch, random: RandomStream, row: Float32Array, sums: Float64Array): void {
    this.#run(this.#gradients, batch, random, ([gradients, totals]) => {
      row.set(gradients!.dataSync<"float32">());
      sums.set(totals!.dataSync<"float32">());
    });
  }

  /** The sums of loss and metrics over the samples, without training. A layer may draw random numbers here too. */
  validate(batch: Batch, random: RandomStream, sums: Float64Array): void {
    this.#run(this.#validation, batch, random, ([totals]) => sums.set(totals!.dataSync<"float32">()));
  }

  /** Puts the state's weights into the model, for whoever uses it directly. */
  useWeights(): void {
    this.#assign(this.#weights);
  }

  /** Applies the sums over all shards: the update with this number, from 1. All or nothing. */
  update(row: Float32Array, samples: number, update: { number: number; learningRate: number }): void {
    const { tf } = this.engine;
    const { optimizer } = this.#job;
    const inputs = [
      this.#trainable!,
      ...this.#slots,
      tf.tensor1d(row.slice(0, this.trainableCount)),
      tf.tensor1d(row.slice(this.trainableCount)),
      tf.scalar(samples),
      tf.scalar(rateAt(optimizer, update.learningRate, update.number)),
      tf.scalar(update.learningRate),
    ];
    const outputs = this.#update(inputs);
    tf.dispose([...inputs, ...this.#weights]);
    const [trainable, ...rest] = outputs;
    this.#trainable = trainable!;
    this.#slots = rest.slice(0, this.slotNames.length);
    this.#weights = rest.slice(this.slotNames.length);
  }

  get #trainableParameters(): readonly Parameter[] {
    return this.parameters.filter((parameter) => parameter.trainable);
  }

  #run(step: Step, batch: Batch, random: RandomStream, take: (outputs: Tensor[]) => void): void {
    const { tf } = this.engine;
    const inputs = [
      tf.tensor(batch.features, [batch.count, ...this.#shapes.features]),
      tf.tensor(batch.label, [batch.count, ...this.#shapes.label]),
      tf.scalar(batch.count),
    ];
    const outputs = seeded(random, () => step([...inputs, ...this.#weights]));
    take(outputs);
    tf.dispose([...inputs, ...outputs]);
  }

  /** Inputs: features, label, count, weights. Outputs: the row, the sums. */
  #gradientStep([features, label, count, ...weights]: readonly Tensor[]): Tensor[] {
    const { tf } = this.engine;
    this.#assign(weights);
    const trainable = this.#variables.filter((_, i) => this.parameters[i]!.trainable);
    let sums: Tensor | null = null;
    const { value, grads } = tf.variableGrads(() => {
      const output = this.model.apply(features!, { training: true }) as Tensor; // one output, one tensor
      const loss = this.#lossSum(label!, output, count!);
      sums = tf.keep(this.#sums(loss, label!, output));
      return loss.asScalar();
    }, trainable);
    const parts = this.parameters.map((parameter, i) => {
      const variable = this.#variables[i]!;
      if (!parameter.trainable) return variable.mul(count!).flatten();
      // A weight that the loss does not depend on has no gradient.
      return (grads[variable.name] ?? tf.zerosLike(variable)).flatten();
    });
    value.dispose();
    const row = parts.length > 1 ? tf.concat1d(parts as Tensor1D[]) : parts[0]!.clone();
    return [row, sums!];
  }

  /** Inputs: features, label, count, weights. Output: the sums. */
  #validationStep([features, label, count, ...weights]: readonly Tensor[]): Tensor[] {
    this.#assign(weights);
    const output = this.model.apply(features!) as Tensor; // one output, one tensor
    return [this.#sums(this.#lossSum(label!, output, count!), label!, output)];
  }

  /**
   * Inputs: trainable weights, slots, gradient sums, statistics sums, samples, rate, learning rate.
   * Outputs: row, slots, weights.
   */
  #updateStep(inputs: readonly Tensor[]): Tensor[] {
    const { tf } = this.engine;
    const [trainable, ...rest] = inputs;
    const slots = rest.slice(0, this.slotNames.length);
    const [gradientSum, statisticsSum, samples, rate, learningRate] = rest.slice(this.slotNames.length);
    const mean = gradientSum!.div(samples!) as Tensor1D;
    const gradient = this.#job.clip ? clipped(tf, this.#job.clip, mean, this.#trainableParameters) : mean;
    const rates = { rate: rate!, learningRate: learningRate! };
    const updated = applyOptimizer(tf, this.#job.optimizer, { weights: trainable!, slots }, gradient, rates);
    const statistics = statisticsSum!.div(samples!);
    const weights = this.parameters.map(({ trainable, offset, size, shape }) =>
      trainable
        ? updated.weights.slice([offset], [size]).reshape([...shape])
        : statistics.slice([offset - this.trainableCount], [size]).reshape([...shape]),
    );
    return [updated.weights, ...updated.slots, ...weights];
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

/** What fails while the job's model computes is the job's to mend; an error that says so already is left as it is. */
function ofTheModel<T>(what: string, compute: () => T): T {
  try {
    return compute();
  } catch (cause) {
    if (cause instanceof LockstepError) throw cause;
    throw new LockstepError("invalid-job", `The model fails in ${what}: ${thrown(cause)}.`, { cause });
  }
}

/** The kind and the first line of something that was thrown, without a full stop. */
function thrown(cause: unknown): string {
  const kind = cause instanceof Error && cause.name !== "Error" ? `${cause.name}: ` : "";
  return `${kind}${messageOf(cause).split("\n")[0]!.replace(/\.$/, "")}`;
}

/** TensorFlow.js refuses some stateful layers by itself, with advice that leads on to the refusal below. */
function callModel(engine: Engine, job: Job, shapes: Parameters<Job["model"]>[1]): unknown {
  try {
    return job.model(engine.tf, shapes);
  } catch (cause) {
    if (cause instanceof LockstepError) throw cause;
    // There is no other sign of it than the message.
    if (/\bRNN is stateful\b/.test(messageOf(cause))) throw statefulLayer("", cause);
    throw new LockstepError("invalid-job", `\`model\` threw ${thrown(cause)}.`, { cause });
  }
}

function statefulLayer(name: string, cause?: unknown): LockstepError {
  return new LockstepError(
    "invalid-job",
    `${name === "" ? "A layer of the model" : `The model's layer ${name}`} is stateful: it would carry something from batch to batch that no checkpoint holds.`,
    { hint: "Leave out stateful: true; every batch is a random draw of the samples anyway.", cause },
  );
}

function buildModel(
  engine: Engine,
  job: Job,
  shapes: { features: readonly number[]; label: readonly number[] },
): LayersModel {
  const model = callModel(engine, job, shapes);
  if (!(model instanceof engine.tf.LayersModel)) {
    throw new LockstepError("invalid-job", "`model` does not return a LayersModel.", {
      hint: "Return what tf.sequential(…) or tf.model(…) gives.",
    });
  }
  if (model.inputs.length !== 1 || model.outputs.length !== 1) {
    throw new LockstepError(
      "invalid-job",
      `The model has ${model.inputs.length} inputs and ${model.outputs.length} outputs; one of each is expected.`,
    );
  }
  const input = model.inputs[0]!.shape.slice(1);
  if (
    input.length !== shapes.features.length ||
    input.some((size, i) => size !== null && size !== shapes.features[i])
  ) {
    throw new LockstepError(
      "invalid-job",
      `The model takes samples of shape [${input.join(", ")}], but the features after pre-processing have [${shapes.features.join(", ")}].`,
      {
        hint: "Use the shapes that `model` is given: inputShape: [...shapes.features].",
      },
    );
  }
  const stateful = model.layers.find((layer) => layer.stateful);
  if (stateful) throw statefulLayer(stateful.name);
  for (const weight of model.weights) {
    if (weight.read().dtype !== "float32") {
      throw new LockstepError(
        "invalid-job",
        `The model's weight ${weight.name} is ${weight.read().dtype}; only float32 is trained.`,
      );
    }
    if ((weight as { constraint?: unknown }).constraint) {
      // A constraint changes weights behind the optimizer; no other place knows of it.
      throw new LockstepError(
        "invalid-job",
        `The model's weight ${weight.name} has a constraint; constraints are not supported.`,
        {
          hint: "Leave out kernelConstraint and biasConstraint, or use a regularizer.",
        },
      );
    }
  }
  checkOutputShape(job, shapes.label, model.outputs[0]!.shape);
  return model;
}
