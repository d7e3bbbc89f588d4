import type { OutputRule } from "./compile.ts";
import type { Job } from "./job.ts";
import { encodeJson } from "./json.ts";
import { dependsOnEpochs } from "./learning-rate.ts";
import type { Transform } from "./transform-definition.ts";
import { splitRule } from "./validation-split.ts";

/**
 * The fields of a job file that decide the bits, each as text: equal on every node, and from start to start. What may
 * change (epochs, what counts as best) and what cannot be compared as text (functions) is not here; the model is
 * compared by the weights and layers it makes.
 */
export function jobFields(job: Job): Record<string, string> {
  const { validation, preprocess, optimizer, clip, loss, lossSettings, classWeight } = job;
  const { monitor, mode } = job.checkpoint;
  return {
    "job.seed": String(job.seed),
    "job.batchSize": String(job.batchSize),
    "job.optimizer": encodeJson(optimizer),
    "job.clip": encodeJson(clip),
    // A rate that reaches its end with the job is another one when the job is longer.
    ...(dependsOnEpochs(optimizer.learningRate) ? { "job.epochs": String(job.epochs) } : {}),
    ...(followsCheckpoint(job) ? { "job.checkpoint": encodeJson({ monitor, mode }) } : {}),
    "job.wire": job.wire,
    // Of a custom one the graph of a step tells.
    "job.loss": Object.keys(lossSettings).length === 0 ? loss : `${loss} ${encodeJson(lossSettings)}`,
    // Fields that a job need not have are absent where it has none, as in the records of older versions.
    ...(classWeight === null ? {} : { "job.classWeight": encodeJson(classWeight) }),
    "job.metrics": job.metrics.join(" "),
    ...(job.outputs === null ? {} : { "job.outputs": encodeJson(job.outputs.map(losses)) }),
    "job.validation": encodeJson(splitRule(validation)),
    // What there was no word for before is not compared with runs from then.
    ...(job.augment.length === 0 ? {} : { "job.augment": encodeJson(job.augment) }),
    "job.preprocess": encodeJson(withTexts(preprocess)),
    // Those that no field shows, as the size of a layer, are told by their names.
    ...(job.params === null ? {} : { "job.params": encodeJson(job.params) }),
  };
}

function losses({ name, loss, lossSettings, lossWeight }: OutputRule): object {
  return { name, loss, lossSettings, lossWeight };
}

/** A function of the job file's own counts by its text. */
function withTexts({ features, label }: Job["preprocess"]): object {
  const listed = (transforms: readonly Transform[]): object[] =>
    transforms.map((transform) => {
      if (transform.kind === "map") return { ...transform, apply: transform.apply.toString() };
      if (transform.kind !== "columns") return transform;
      const named = Object.entries(transform.columns).map(([name, list]) => [name, listed(list)] as const);
      return { ...transform, columns: Object.fromEntries(named), rest: listed(transform.rest) };
    });
  return { features: listed(features), label: listed(label) };
}

/** Whether the learning rate goes by what the job monitors for its checkpoints. */
function followsCheckpoint({ optimizer: { learningRate } }: Job): boolean {
  if (typeof learningRate === "number" || learningRate.kind !== "plateau") return false;
  return learningRate.monitor === undefined || learningRate.mode === undefined;
}
