import { formatCount, formatValue } from "../../core/number-format.ts";
import { settingsText } from "../../core/settings.ts";
import type { CheckpointPointer, ClusterStatus, ProcessStatus } from "../../core/status.ts";
import { plural, printable, table, wrapList } from "../../core/summary-table.ts";
import { metricPieces, remainingText } from "./lines.ts";

/** What `lockstep status` prints: the job, its processes, its checkpoints. No escape codes; no line break at the end. */
export function statusTable(status: ClusterStatus): string {
  const { job, state, generation, reason } = status;
  const told = settingsText(status.settings);
  const where = generation === 0 ? state : `${state}, generation ${generation}`;
  return [
    `${job}${told === null ? "" : ` with ${printable(told)}`}: ${where}${reason === "" ? "" : `\n${printable(reason)}`}`,
    progressLines(status),
    status.processes.length === 0 ? "No processes." : processTable(status.processes),
    pointerTable(status),
  ].join("\n\n");
}

function progressLines({ epoch, epochs, step, stepsPerEpoch, running, progress }: ClusterStatus): string {
  const { percent, remainingSeconds } = progress;
  const left =
    remainingSeconds === null || remainingSeconds === 0 ? "" : `, about ${remainingText(remainingSeconds)} left`;
  const far = `${formatCount(epoch)} of ${formatCount(epochs)} completed, ${plural(step, "step")} committed`;
  const done = `epoch ${far}: ${percent.toFixed(1)}%${left}`;
  if (running === null) return done;
  const values = metricPieces(running.metrics);
  const { stepInEpoch, samplesPerSecond } = running;
  const place = `${formatCount(stepInEpoch)}/${formatCount(stepsPerEpoch)} steps`;
  const speed = `${formatCount(samplesPerSecond)} samples/s`;
  return `${done}\n${wrapList(`epoch ${formatCount(running.epoch)} under way: `, [place, speed, ...values])}`;
}

const roleOrder: readonly ProcessStatus["role"][] = ["launch", "etcd", "coordinator", "worker"];

function processTable(processes: readonly ProcessStatus[]): string {
  const rank = (process: ProcessStatus): number => process.rank ?? Number.MAX_SAFE_INTEGER;
  const rows = [...processes]
    .sort((a, b) => roleOrder.indexOf(a.role) - roleOrder.indexOf(b.role) || rank(a) - rank(b))
    .map((process) => [
      process.role,
      process.workerId ?? "",
      optional(process.rank),
      process.leader ? "★" : "",
      optional(process.pid),
      process.address ?? "",
      process.epoch === null ? "" : formatCount(process.epoch),
      process.step === null ? "" : formatCount(process.step),
      process.lease === "lost" ? "LOST" : (process.lease ?? ""),
    ]);
  const header = ["role", "worker id", "rank", "leader", "pid", "address", "epoch", "step", "lease"];
  return table([header, ...rows], [2, 4, 6, 7]);
}

function pointerTable({ best, latest }: ClusterStatus): string {
  if (best === null && latest === null) return "No checkpoint yet.";
  const row = (name: string, pointer: CheckpointPointer | null): string[] =>
    pointer === null
      ? [name, "–", "–", "–", "none yet"]
      : [
          name,
          formatCount(pointer.epoch),
          formatCount(pointer.step),
          pointer.value === null ? "–" : `${pointer.monitor} ${formatValue(pointer.value)}`,
          pointer.holders ? `${pointer.id} on ${pointer.holders.join(", ")}` : pointer.location,
        ];
  return table([["checkpoint", "epoch", "step", "value", "where"], row("best", best), row("latest", latest)], [1, 2]);
}

function optional(value: number | null): string {
  return value === null ? "" : String(value);
}
