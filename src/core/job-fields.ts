import type { Job } from "./job.ts";
import { encodeJson } from "./json.ts";

/**
 * The fields of a job file that decide the bits, each as text: equal on every node, and from start to start. What may
 * change (epochs, what counts as best) and what cannot be compared as text (functions) is not here; the model is
 * compared by the weights and layers it makes.
 */
export function jobFields(job: Job): Record<string, string> {
  const { validation, preprocess, optimizer } = job;
  return {
    "job.seed": String(job.seed),
    "job.batchSize": String(job.batchSize),
    "job.optimizer": encodeJson(optimizer),
    "job.loss": job.loss,
    "job.metrics": job.metrics.join(" "),
    "job.validation": encodeJson(validation),
    "job.preprocess": encodeJson(preprocess),
  };
}
