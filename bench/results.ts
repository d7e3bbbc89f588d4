/** What a benchmark has measured: a table for people, a file for programs. */
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { cpus, loadavg, totalmem } from "node:os";
import { formatValue } from "../src/core/number-format.ts";
import { table } from "../src/core/summary-table.ts";
import { peerVersions } from "./python.ts";

/** One row: a figure of lockstep's, beside a peer's or a limit. */
export interface Result {
  readonly work: string;
  /** Workers. */
  readonly world: number;
  /** Null when there was nothing to measure. */
  readonly value: number | null;
  readonly unit: string;
  /** Whose figure stands beside it; "limit" for a bound that is a number; null for nobody's. */
  readonly peer: string | null;
  readonly peerValue: number | null;
  /** How many times better than the peer: higher is better, also where less of the unit is. */
  readonly ratio: number | null;
  /** The least ratio that is good enough; null where no goal was set. */
  readonly goal: number | null;
  readonly met: boolean | null;
  readonly samples: readonly number[];
  readonly peerSamples: readonly number[];
}

/** A peer that was not measured. */
export interface Skipped {
  readonly peer: string;
  readonly why: string;
}

export interface Beside {
  readonly peer: string;
  readonly samples: readonly number[];
  readonly goal: number | null;
}

/** Of rates more is better, of everything else less. */
export type Unit = "ms" | "GiB/s" | "samples/s" | "MiB" | "count";

export interface Measured {
  readonly work: string;
  readonly world: number;
  readonly unit: Unit;
  readonly samples: readonly number[];
  /** What of the samples counts, lockstep's and a peer's alike; the median by default. */
  readonly of?: (samples: readonly number[]) => number;
}

/** One row for each figure that it stands beside; one row alone when there is none. */
export function resultsOf(measured: Measured, beside: readonly Beside[]): Result[] {
  const { work, world, unit, samples, of = median } = measured;
  const figure = (values: readonly number[]) => (values.length === 0 ? null : of(values));
  const value = figure(samples);
  const own = { work, world, value, unit };
  if (beside.length === 0) {
    return [{ ...own, peer: null, peerValue: null, ratio: null, goal: null, met: null, samples, peerSamples: [] }];
  }
  return beside.map(({ peer, goal, samples: peerSamples }) => {
    const peerValue = figure(peerSamples);
    const ratio = value === null || peerValue === null ? null : isRate(unit) ? value / peerValue : peerValue / value;
    const met = goal === null ? null : ratio !== null && ratio >= goal;
    return { ...own, peer, peerValue, ratio, goal, met, samples, peerSamples };
  });
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Of figures that were taken one beside the other: the median of their ratios, and between which values it is, at 95 %. */
export function pairedRatio(samples: readonly number[], beside: readonly number[]): string {
  const ratios = samples.map((sample, i) => sample / beside[i]!).sort((a, b) => a - b);
  // By the order of the ratios alone: nothing is supposed about how they are spread. Of fewer than six it is all of them.
  const rank = Math.max(0, Math.floor(ratios.length / 2 - 0.98 * Math.sqrt(ratios.length)));
  const [low, high] = [ratios[rank]!, ratios.at(-1 - rank)!];
  return `${median(ratios).toFixed(3)} ×, ${low.toFixed(3)} to ${high.toFixed(3)} with 95 % confidence, ${ratios.length} pairs`;
}

export const worst = (values: readonly number[]): number => Math.max(...values);

const isRate = (unit: string): boolean => unit.endsWith("/s");

/** The rows as a table, with the worst sample beside each figure. */
export function resultTable(results: readonly Result[]): string {
  const yes = (met: boolean | null) => (met === null ? "" : met ? "met" : "missed");
  const rows = results.map(({ work, world, value, unit, peer, peerValue, ratio, goal, met, samples, peerSamples }) => [
    work,
    String(world),
    `${formatValue(value)} ${unit}`,
    samples.length === 0 ? "–" : formatValue(isRate(unit) ? Math.min(...samples) : worst(samples)),
    String(samples.length),
    peer ?? "–",
    peer === null ? "" : formatValue(peerValue),
    peer === null || peer === "limit" ? "" : String(peerSamples.length),
    ratio === null ? "–" : `${ratio.toFixed(2)} ×`,
    goal === null ? "" : `≥ ${Number(goal.toFixed(2))}`,
    yes(met),
  ]);
  const head = ["work", "W", "lockstep", "worst", "n", "peer", "its figure", "n", "ratio", "goal", ""];
  return table([head, ...rows], [1, 2, 3, 4, 6, 7, 8, 9]);
}

/** What the figures were measured on, and with what. */
export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly platform: string;
  /** Processes that wanted a core in the last minute, before and after: above the cores, figures are of a busy machine. */
  readonly load: readonly [before: number, after: number];
}

export function machine(loadBefore: number): Machine {
  const processors = cpus();
  return {
    processor: processors[0]?.model ?? "unknown",
    cores: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`,
    load: [loadBefore, load()],
  };
}

export const load = (): number => loadavg()[0]!;

/** Of what was measured; beside these there may be an engine's. */
export function versions(): Record<string, string> {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  const { version } = JSON.parse(text) as { version: string }; // npm insists on one
  return { lockstep: version, node: process.versions.node, ...peerVersions() };
}

export interface Report {
  readonly benchmark: string;
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  readonly results: readonly Result[];
  readonly skipped: readonly Skipped[];
}

/** Prints the rows, what they were measured on, and what else there is to say; writes them to a file, if one is named. */
export async function publish(report: Report, remarks: readonly string[], file: string | undefined): Promise<void> {
  printRows(report.results);
  printRemarks(report, remarks);
  await writeReport(report, file);
}

export function printRows(results: readonly Result[]): void {
  process.stdout.write(`${resultTable(results)}\n\n`);
}

export function printRemarks({ machine, skipped }: Report, remarks: readonly string[]): void {
  const [before, after] = machine.load;
  const lines = [
    `${machine.cores} cores, ${machine.processor}; load ${before.toFixed(1)} before, ${after.toFixed(1)} after`,
    ...remarks,
    ...skipped.map(({ peer, why }) => `skipped: ${peer}: ${why}`),
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}

/** As JSON, if a file is named; what was written to it before is replaced. */
export async function writeReport(report: Report, file: string | undefined): Promise<void> {
  if (file !== undefined) await writeFile(file, `${JSON.stringify(report, null, 2)}\n`);
}
