/** What a job can monitor, and what to say of a name that it does not compute. */
import { isMetricName } from "./compile.ts";
import { listed, wrongField } from "./field-checks.ts";
import type { Job } from "./job.ts";
import { nearestName } from "./nearest-name.ts";

/**
 * The names under which a job's epochs have metrics: `loss`, each metric, and, with a validation split, `val_` + each
 * of those. These are what a checkpoint can monitor.
 */
export function computableMetrics(job: Pick<Job, "metrics" | "validation">): string[] {
  const names = ["loss", ...job.metrics];
  return job.validation === null ? names : [...names, ...names.map((name) => `val_${name}`)];
}

/** The name of something that the job computes. */
export function monitorOf(value: unknown, path: string, job: Pick<Job, "metrics" | "validation">): string {
  const names = computableMetrics(job);
  if (typeof value === "string" && names.includes(value)) return value;
  const expected = `something that this job computes: ${listed(names)}`;
  throw wrongField(path, value, expected, monitorHint(value, names, job));
}

/** What would make the job compute the monitored metric. */
function monitorHint(monitor: unknown, names: readonly string[], job: Pick<Job, "validation">): string | undefined {
  if (typeof monitor !== "string") return undefined;
  const base = monitor.replace(/^val_/, "");
  if (monitor !== base && job.validation === null && names.includes(base)) {
    return `Add validation: { fraction: 0.2 } to the job, or monitor "${base}".`;
  }
  const isVal = monitor !== base;
  const ofOutput = names.find((name) => name.startsWith("val_") === isVal && name.endsWith(`_${base}`));
  if (ofOutput !== undefined) return `Did you mean "${ofOutput}"?`;
  if (isMetricName(base) && !names.includes(base)) {
    return `Add "${base}" to compile.metrics${monitor !== base && job.validation === null ? ", and validation: { fraction: 0.2 } to the job" : ""}.`;
  }
  const meant = nearestName(monitor, names);
  return meant === null ? undefined : `Did you mean "${meant}"?`;
}
