/** A run's committed epochs, for whoever reads them afterwards: as a table, as CSV, as JSON. */
import type { CheckpointPolicy } from "./checkpoint-policy.ts";
import { formatCount, formatValue } from "./number-format.ts";
import { orderedMetrics } from "./run-result.ts";
import { type JobSettings, settingsText } from "./settings.ts";
import type { EpochHistory } from "./status.ts";
import { plural, printable, table } from "./summary-table.ts";

export interface RunHistory {
  readonly job: string;
  /** Its number; null where whoever tells of it does not say. */
  readonly run: number | null;
  /** What it was told beside the job file, by --set and --param. */
  readonly settings: JobSettings;
  /** What decides about the best epoch. */
  readonly policy: CheckpointPolicy;
  /** One record a committed epoch, oldest first. */
  readonly history: readonly EpochHistory[];
}

/** Without etcd nobody says what was monitored where nothing ever became best: it is what a job monitors that says nothing. */
export function usualPolicy(history: readonly EpochHistory[]): CheckpointPolicy {
  return { monitor: history.some(({ metrics }) => "val_loss" in metrics) ? "val_loss" : "loss", mode: "min" };
}

/** The names of all metrics, in Keras' order: some epochs may have fewer, after a change of the job. */
export function metricNames(history: readonly EpochHistory[]): string[] {
  return orderedMetrics(Object.assign({}, ...history.map(({ metrics }) => metrics))).map(([name]) => name);
}

export function bestEpoch(history: readonly EpochHistory[]): EpochHistory | null {
  return history.findLast(({ improved }) => improved) ?? null;
}

/** For people: a line an epoch. No line break at the end. */
export function historyTable({ job, run, settings, policy, history }: RunHistory): string {
  const best = bestEpoch(history);
  const names = metricNames(history);
  const { monitor, mode } = policy;
  const which = best
    ? `the best is epoch ${best.epoch}, by ${printable(monitor)} (${mode})`
    : `none is the best by ${printable(monitor)} (${mode})`;
  const told = settingsText(settings);
  const heading = `${run === null ? `"${job}"` : `Run ${run} of "${job}"`}${told === null ? "" : ` with ${printable(told)}`}: ${plural(history.length, "epoch")}`;
  if (history.length === 0) return `${heading}.`;
  const rows = history.map((record) => [
    formatCount(record.epoch),
    formatCount(record.step),
    ...names.map((name) => formatValue(record.metrics[name])),
    record === best ? "★ best" : "",
  ]);
  const header = ["epoch", "step", ...names.map(printable), ""];
  return `${heading}; ${which}.\n\n${table(
    [header, ...rows],
    header.slice(0, -1).map((_, column) => column),
  )}`;
}

/**
 * RFC 4180 with a header, and lines that end with "\n". Numbers have all their digits, and are NaN or Infinity where they are
 * that; a metric that an epoch lacks is an empty cell. `best` is 1 where the epoch was the best so far, else 0.
 */
export function historyCsv(history: readonly EpochHistory[]): string {
  const names = metricNames(history);
  const rows = history.map(({ epoch, step, metrics, improved }) => [
    ...[epoch, step].map(String),
    ...names.map((name) => (metrics[name] === undefined ? "" : String(metrics[name]))),
    improved ? "1" : "0",
  ]);
  return [["epoch", "step", ...names, "best"], ...rows].map((row) => `${row.map(cell).join(",")}\n`).join("");
}

function cell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
