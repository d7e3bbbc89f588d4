import { formatCount, formatDuration, formatValue } from "../../core/number-format.ts";
import { orderedMetrics } from "../../core/run-result.ts";
import type { ClusterStatus, ProcessStatus, RunningEpoch } from "../../core/status.ts";
import { printable } from "../../core/summary-table.ts";
import type { EpochNews } from "./journal.ts";
import type { Style } from "./style.ts";

/** Pieces of text that belong on a line, in the order of reading. */
type Pieces = readonly string[];

/** "Epoch  3/40", "loss 0.5312", …, "★ val_loss 0.620 → 0.610, best saved". */
export function epochPieces({ record, verdict }: EpochNews, epochs: number, style: Style): Pieces {
  const total = formatCount(epochs);
  const number = formatCount(record.epoch).padStart(total.length);
  return [
    style.bold(`Epoch ${number}/${total}`),
    ...metricPieces(record.metrics),
    record.improved ? style.best(`★ ${verdict}`) : style.quiet(`  ${verdict}`),
  ];
}

export function metricPieces(metrics: Readonly<Record<string, number>>): Pieces {
  return orderedMetrics(metrics).map(([name, value]) => `${printable(name)} ${formatValue(value)}`);
}

/** "Epoch 3/40  5.2% of the run, 4 min 10 s left"; on a narrow terminal the rest goes, the percentage first. */
export function epochLine(
  epoch: number,
  { epochs, progress: { percent, remainingSeconds } }: Pick<ClusterStatus, "epochs" | "progress">,
  columns: number,
  style: Style,
): string {
  const number = style.bold(`Epoch ${formatCount(epoch)}/${formatCount(epochs)}`);
  if (remainingSeconds === null) return fitted(number, columns);
  const left = `${remainingText(remainingSeconds)} left`;
  const rest = [`  ${percent.toFixed(1)}% of the run, ${left}`, `  ${left}`, ""];
  const fitting = rest.find((more) => visibleWidth(number) + more.length <= columns) ?? "";
  return fitted(number + style.quiet(fitting), columns);
}

/** No tenths of what is only foretold. */
export function remainingText(seconds: number): string {
  return seconds < 59.5 ? `${Math.ceil(seconds)} s` : formatDuration(seconds);
}

/** Puts pieces on lines no wider than `columns`, the second and later ones indented. Words stay whole. */
export function wrapPieces(pieces: Pieces, columns: number): string[] {
  const lines: string[] = [];
  const put = (piece: string, gap: string): boolean => {
    const line = lines.at(-1);
    if (line === undefined || visibleWidth(line) + gap.length + visibleWidth(piece) > columns) return false;
    lines[lines.length - 1] = line + gap + piece;
    return true;
  };
  for (const piece of pieces) {
    if (put(piece, "  ")) continue;
    const indent = lines.length === 0 ? "" : "  ";
    if (indent.length + visibleWidth(piece) <= columns) lines.push(indent + piece);
    else {
      const [first = "", ...words] = piece.split(/(?<=\S) /);
      lines.push(indent + first);
      for (const word of words) if (!put(word, " ")) lines.push(`  ${word}`);
    }
  }
  return lines;
}

/**
 * The line that is redrawn: "12/24 ━━━━━━━━╸─────── 48%  1,234 samples/s  loss 0.5312  accuracy 0.8100". On a narrow
 * terminal the bar shrinks, then pieces go, the last metrics first, so that the loss stays longest.
 */
export function progressLine(running: RunningEpoch, stepsPerEpoch: number, columns: number, style: Style): string {
  const total = formatCount(stepsPerEpoch);
  const count = `${formatCount(running.stepInEpoch).padStart(total.length)}/${total}`;
  const fraction = stepsPerEpoch > 0 ? Math.min(1, running.stepInEpoch / stepsPerEpoch) : 0;
  const percent = `${Math.floor(fraction * 100)}%`.padStart(5);
  const speed = running.samplesPerSecond > 0 ? [`${formatCount(running.samplesPerSecond)} samples/s`] : [];
  const [loss = [], ...metrics] = metricPieces(running.metrics).map((piece) => [piece]);
  // Most important first; each keeps its place on the line when others go.
  const tails: Pieces[] = [[], loss, [...speed, ...loss]];
  for (const metric of metrics) tails.push([...tails.at(-1)!, ...metric]);
  for (const tail of tails.reverse()) {
    const rest = tail.map((piece) => `  ${piece}`).join("");
    const room = columns - count.length - 1 - percent.length - rest.length;
    if (room >= shortestBar) return `${count} ${bar(fraction, Math.min(longestBar, room), style)}${percent}${rest}`;
  }
  return fitted(`${count}${percent}`, columns);
}

const shortestBar = 8;
const longestBar = 24;

/** "━━━━━━╸─────", in half steps. */
function bar(fraction: number, length: number, style: Style): string {
  const halves = Math.floor(fraction * length * 2);
  const whole = Math.floor(halves / 2);
  const half = halves % 2;
  const rest = length - whole - half;
  return style.done("━".repeat(whole) + "╸".repeat(half)) + style.quiet("─".repeat(rest));
}

/** "generation 2 · workers ●●● · leader worker-0.1b2c": who is at it. A ring is a worker that takes no part now. */
export function clusterLine(status: ClusterStatus, columns: number, style: Style): string {
  const workers = status.processes.filter(({ role }) => role === "worker").sort(byRank);
  const leader = workers.find((worker) => worker.leader);
  const present = ({ rank, lease }: ProcessStatus): boolean => rank !== null && lease !== "lost";
  const dots = workers.map((worker) => (present(worker) ? style.done("●") : style.bad("○")));
  const taking = workers.filter(present).length;
  // Beyond a screenful, dots say less than a number.
  const people = workers.length > 16 ? `${taking} of ${workers.length}` : dots.join("");
  const pieces = [
    status.generation === 0 ? "no generation yet" : `generation ${status.generation}`,
    `workers ${workers.length === 0 ? "none yet" : people}`,
    `leader ${leader?.workerId ?? "none"}`,
  ];
  while (pieces.length > 1 && visibleWidth(pieces.join(" · ")) > columns) pieces.pop();
  return fitted(pieces.join(style.quiet(" · ")), columns);
}

function byRank(a: ProcessStatus, b: ProcessStatus): number {
  const place = ({ rank }: ProcessStatus): number => rank ?? Number.MAX_SAFE_INTEGER;
  return place(a) - place(b) || (a.workerId ?? "").localeCompare(b.workerId ?? "");
}

/** Cuts a line that would be wider than `columns`, with an ellipsis. */
export function fitted(text: string, columns: number): string {
  if (visibleWidth(text) <= columns) return text;
  let room = Math.max(0, columns - 1);
  let cut = "";
  for (const part of text.split(escapeCodes)) {
    if (part.startsWith("\u001b")) cut += part;
    else {
      cut += Array.from(part).slice(0, room).join("");
      room = Math.max(0, room - Array.from(part).length);
    }
  }
  return `${cut}…`;
}

/** Colour codes, which take no room; in a group, so that `split` keeps them. */
const escapeCodes = new RegExp(`(${"\u001b"}\\[[\\d;]*m)`);

export function visibleWidth(text: string): number {
  return text
    .split(escapeCodes)
    .reduce((width, part) => width + (part.startsWith("\u001b") ? 0 : Array.from(part).length), 0);
}
