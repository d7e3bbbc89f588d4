/** What the processes' log lines say about faults and steps: pure functions of lines. All times in milliseconds. */
import type { Times } from "./gameday.ts";

/** A line of a process' log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly process: string; readonly atMs: number };

export const firstStepMessage = "first step of the generation";

export function isStep({ message }: LogLine): boolean {
  return message === "step" || message === firstStepMessage;
}

/** When a process committed its steps, in a span of time. */
export function stepTimes(lines: readonly LogLine[], process: string, fromMs: number, toMs: number): number[] {
  const steps = lines.filter((line) => line.process === process && isStep(line));
  return steps.map(({ atMs }) => atMs).filter((atMs) => atMs >= fromMs && atMs <= toMs);
}

export function gaps(times: readonly number[]): number[] {
  return times.slice(1).map((at, i) => at - times[i]!);
}

/** The longest time without a step of any of these; the span's edges count as steps, so that a standstill shows. */
export function longestGap(
  lines: readonly LogLine[],
  processes: readonly string[],
  fromMs: number,
  toMs: number,
): number {
  return Math.max(...processes.flatMap((name) => gaps([fromMs, ...stepTimes(lines, name, fromMs, toMs), toMs])));
}

/**
 * Committed steps that a process has taken again since then. From one "ready" of a process to the next its steps only rise; who was
 * one behind copies a step instead of taking it. A replay that ended before then had a reason of its own and counts for nothing.
 */
export function repeatedSteps(lines: readonly LogLine[], sinceMs = 0): number {
  const latest = new Map<string, number>();
  let repeated = 0;
  for (const line of lines) {
    if (line.message === "ready") latest.delete(line.process);
    if (!isStep(line)) continue;
    const before = latest.get(line.process) ?? 0;
    const step = Number(line.step);
    const isAgain = line.atMs >= sinceMs && step <= before;
    if (isAgain) repeated++;
    else latest.set(line.process, step);
  }
  return repeated;
}

export interface Disturbance {
  readonly atMs: number;
  /** The generation that it ended. */
  readonly generation: number;
  /** Who went on. */
  readonly survivors: readonly string[];
}

/** What followed a disturbance. */
export interface Recovery {
  readonly times: Times;
  /** The first generation in which a survivor committed a step; null when none did. */
  readonly generation: number | null;
  readonly stepsLost: number | null;
}

export function recoveryFrom(all: readonly LogLine[], { atMs, generation, survivors }: Disturbance): Recovery {
  const lines = all.filter((line) => line.atMs >= atMs);
  const later = (line: LogLine) => Number(line.generation) > generation;
  const firsts = survivors.map((name) =>
    lines.find((line) => line.process === name && line.message === firstStepMessage && later(line)),
  );
  const known = firsts.filter((line) => line !== undefined);
  const since = (at: number | undefined) => (at === undefined ? null : at - atMs);
  const signs = lines.filter(
    (line) => line.message === "a peer is out of reach" || (line.message === "forming" && later(line)),
  );
  const next = known.length === 0 ? null : Math.min(...known.map((line) => Number(line.generation)));
  const running = lines.find((line) => line.message === "running" && line.generation === next);
  const firstStepMs = known.length === 0 || known.length < firsts.length ? undefined : latest(known);
  const copies = lines.filter(
    (line) =>
      line.message === "took the state" && running && line.atMs >= running.atMs && line.atMs <= (firstStepMs ?? 0),
  );
  return {
    generation: next,
    times: {
      detect: since(signs.length === 0 ? undefined : Math.min(...signs.map((line) => line.atMs))),
      form: since(running?.atMs),
      catchUp: copies.length === 0 ? null : since(latest(copies)),
      firstStep: since(firstStepMs),
    },
    stepsLost: stepsLost(all, generation, survivors, known),
  };
}

/** Steps that a survivor had committed, and that the first step afterwards took again. */
function stepsLost(
  lines: readonly LogLine[],
  generation: number,
  survivors: readonly string[],
  firsts: readonly LogLine[],
): number | null {
  if (firsts.length === 0) return null;
  const steps = lines.filter((line) => isStep(line) && Number(line.generation) <= generation);
  // Each one's last step and not its highest: before the disturbance there may have been a replay.
  const committed = survivors.map((name) => Number(steps.findLast((line) => line.process === name)?.step ?? 0));
  const next = Math.min(...firsts.map((line) => Number(line.step)));
  return Math.max(0, Math.max(0, ...committed) - (next - 1));
}

function latest(lines: readonly LogLine[]): number {
  return Math.max(...lines.map((line) => line.atMs));
}
