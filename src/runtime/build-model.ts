/** A job's model, built and found fit to be trained; and whose fault it is when it fails. */
import { LockstepError, messageOf } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import type { Engine, LayersModel, RecordedStep } from "../ports/engine.ts";
import { inputParts, outputParts } from "./cut.ts";
import { checkOutputShape } from "./losses.ts";
import { checkMetrics } from "./metrics.ts";
import { freezeStatistics } from "./weight-kinds.ts";

/**
 * A step of the job's model. What fails in it, while it is recorded or run, is the job's to mend and says which step it was; an
 * error that is somebody's already is left as it is.
 */
export function ofTheModel(what: string, { prepare, warmUp, run, trace }: RecordedStep): RecordedStep {
  const told =
    <Words extends readonly unknown[], R>(compute: (...words: Words) => R) =>
    (...words: Words): R => {
      try {
        return compute(...words);
      } catch (cause) {
        if (cause instanceof LockstepError) throw cause;
        throw new LockstepError("invalid-job", `The model fails in ${what}: ${thrown(cause)}.`, { cause });
      }
    };
  return { prepare: told(prepare), warmUp: told(warmUp), run: told(run), trace: told(trace) };
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

function checkInputs(model: LayersModel, features: readonly number[]): void {
  const [input, ...others] = model.inputs;
  if (others.length > 0) return void inputParts(model, features); // which throws
  const shape = input!.shape.slice(1);
  if (shape.length === features.length && shape.every((size, i) => size === null || size === features[i])) return;
  throw new LockstepError(
    "invalid-job",
    `The model takes samples of shape [${shape.join(", ")}], but the features after pre-processing have [${features.join(", ")}].`,
    { hint: "Use the shapes that `model` is given: inputShape: [...shapes.features]." },
  );
}

function checkOutput({ outputs }: LayersModel, job: Job, label: readonly number[]): void {
  const [output, ...others] = outputs;
  if (others.length > 0) {
    throw new LockstepError("invalid-job", `The model has ${outputs.length} outputs, but compile.loss is for one.`, {
      hint: "Give compile.outputs in its place, with the loss of each, or compile.step.",
    });
  }
  checkOutputShape(job, label, output!.shape);
  checkMetrics(job, label, output!.shape.slice(1));
}

function checkOutputs(model: LayersModel, rules: NonNullable<Job["outputs"]>, label: readonly number[]): void {
  for (const { rule, index, label: part } of outputParts(model, rules, label)) {
    const { shape } = model.outputs[index]!;
    try {
      checkOutputShape(rule, part.shape, shape);
      checkMetrics(rule, part.shape, shape.slice(1));
    } catch (cause) {
      if (!(cause instanceof LockstepError)) throw cause;
      const hint = cause.hint === undefined ? {} : { hint: cause.hint };
      throw new LockstepError("invalid-job", `compile.outputs.${rule.name}: ${cause.message}`, { ...hint, cause });
    }
  }
}

export function buildModel(
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
  // What a step of the job's own does with the model is its affair.
  if (job.step === null) checkInputs(model, shapes.features);
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
  if (job.outputs !== null) checkOutputs(model, job.outputs, shapes.label);
  else if (job.step === null) checkOutput(model, job, shapes.label);
  freezeStatistics(model);
  return model;
}
