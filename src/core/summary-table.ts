import { formatCount, formatDuration, formatValue } from "./number-format.ts";
import { exactnessOf } from "./records.ts";
import { type GoOn, orderedMetrics, type ResultCheckpoint, type RunResult } from "./run-result.ts";

/**
 * The end of a run, for people: `best` and `latest` side by side, the job's report, and what to do next. At most 100
 * columns wide, except for a path or a command that is longer by itself (it must stay one piece to be copied) and for
 * the job's own report. No escape codes; no line break at the end.
 */
export function summaryText(result: RunResult): string {
  return [headline(result), checkpointTable(result), reportSection(result), filesSection(result), nextSection(result)]
    .filter((section) => section !== "")
    .join("\n\n");
}

function headline(result: RunResult): string {
  const { job, epochs, steps, seconds, generations, weightsDigest, early, equivalences } = result;
  return [
    `${job}: ${plural(epochs, "epoch")}, ${plural(steps, "step")}, ${plural(generations, "generation")}, ${formatDuration(seconds)}`,
    ...(early === null ? [] : [early]),
    `weights ${weightsDigest}`,
    exactnessOf(equivalences),
    ...equivalences.map((reason) => `  ${printable(reason)}`),
  ].join("\n");
}

function checkpointTable(result: RunResult): string {
  const { best, latest, monitor, test, testLatest } = result;
  const row = (name: string, cell: (checkpoint: ResultCheckpoint) => string): string[] => [
    name,
    best === null ? "–" : cell(best),
    cell(latest),
  ];
  const rows = [
    ["", "best", "latest"],
    row("epoch", ({ epoch }) => formatCount(epoch)),
    row("step", ({ step }) => formatCount(step)),
    row(monitor, ({ monitor: name, value }) => (name === monitor ? formatValue(value) : "–")),
    ...orderedMetrics({ ...testLatest, ...test }).map(([name]) => [
      `test ${name}`,
      formatValue(test?.[name]),
      formatValue(testLatest?.[name]),
    ]),
  ];
  const places = [
    ["best", best?.path ?? "none"],
    ["latest", latest.path],
  ];
  return [table(rows, [1, 2]), table(places), lesson(result)].join("\n\n");
}

/** What keeping `best` was good for. */
function lesson({ best, latest, monitor, minDelta }: RunResult): string {
  if (best === null) return `No checkpoint is best: ${monitor} was never a finite number.`;
  if (best.monitor !== monitor) {
    return `Epoch ${best.epoch} is the best by ${best.monitor}; by ${monitor}, which decides now, none is yet.`;
  }
  const later = latest.epoch - best.epoch;
  if (later <= 0) return `The latest epoch is also the best one by ${monitor}.`;
  return `Epoch ${best.epoch} is the best by ${monitor}; ${plural(later, "more epoch")} brought nothing better${minDelta > 0 ? ` by more than ${minDelta} (minDelta)` : ""}.`;
}

function reportSection({ report, best, latest }: RunResult): string {
  if (report === null || report.trim() === "") return "";
  const heading = `Report of the ${best === null ? "latest" : "best"} model, epoch ${(best ?? latest).epoch}:`;
  const lines = printable(report).replace(/^\n+/, "").trimEnd().split("\n");
  return [heading, "", ...lines.map((line) => `  ${line}`.trimEnd())].join("\n");
}

function filesSection({ directory, curve }: RunResult): string {
  const rows = [["run", directory], ...(curve === null ? [] : [["loss curve", curve]])];
  return `Files\n${indent(table(rows))}`;
}

function nextSection({ job, goOn = { words: ["JOB.ts", "--job", job], epochs: null }, ...result }: RunResult): string {
  const { epochs, early } = result;
  const rows = [
    ["see this again", launchCommand(goOn)],
    early === null
      ? ["train on", launchCommand({ ...goOn, epochs: String(Math.max(1, epochs) * 2) })]
      : ["train on", "change checkpoint.earlyStopping in the job file, and launch it again"],
  ];
  return `Next\n${indent(table(rows))}`;
}

/** Aligned columns, two spaces apart; those whose index is in `right` are set flush right. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => (right.includes(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** `first` and the items with commas between, broken between items before column 100. */
export function wrapList(first: string, items: readonly string[]): string {
  const lines = [first];
  for (const [index, item] of items.entries()) {
    const piece = index < items.length - 1 ? `${item}, ` : item;
    if (lines.at(-1)!.length + piece.trimEnd().length > 100) lines.push("  ");
    lines.push(lines.pop()! + piece);
  }
  return lines.map((line) => line.trimEnd()).join("\n");
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, "  ");
}

/** "1 step", "1,234 steps". */
export function plural(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** Text from outside without the characters by which it could move the cursor or colour what follows. */
export function printable(text: string): string {
  return text
    .replaceAll("\r\n", "\n")
    .replaceAll("\t", "    ")
    .replaceAll(/[^\P{Cc}\n]/gu, "�");
}

/** As it can be typed. */
export function launchCommand({ words, epochs }: GoOn): string {
  return ["npx lockstep launch", ...words.map(shellWord), ...(epochs === null ? [] : ["--epochs", epochs])].join(" ");
}

/** A word as a POSIX shell reads it back. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
