import type { Job } from "./job.ts";
import { encodeJson } from "./json.ts";
import { dependsOnEpochs } from "./learning-rate.ts";

/**
 * The fields of a job file that decide the bits, each as text: equal on every node, and from start to start. What may
 * change (epochs, what counts as best) and what cannot be compared as text (functions) is not here; the model is
 * compared by the weights and layers it makes.
 */
export function jobFields(job: Job): Record<string, string> {
  const { validation, preprocess, optimizer, clip } = job;
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
    "job.loss": job.loss,
    "job.metrics": job.metrics.join(" "),
    "job.validation": encodeJson(validation),
    "job.preprocess": encodeJson(preprocess),
    // Those that no field shows, as the size of a layer, are told by their names.
    ...(job.params === null ? {} : { "job.params": encodeJson(job.params) }),
  };
}

/** Whether the learning rate goes by what the job monitors for its checkpoints. */
function followsCheckpoint({ optimizer: { learningRate } }: Job): boolean {
  if (typeof learningRate === "number" || learningRate.kind !== "plateau") return false;
  return learningRate.monitor === undefined || learningRate.mode === undefined;
}
