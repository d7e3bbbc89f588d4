import type { DataReport } from "../../core/data-report.ts";
import type { ColumnSummary } from "../../core/data-summary.ts";
import { formatCount, formatValue } from "../../core/number-format.ts";
import { float32Text } from "../../core/prediction.ts";
import { plural, printable, table, wrapList } from "../../core/summary-table.ts";

const mostColumns = 16;
const mostClassRows = 32;
const mostValues = 10;

/** What `lockstep data` prints: no escape codes, no line break at the end. */
export function dataText(report: {
  readonly job: string;
  readonly data: DataReport;
  readonly test: DataReport | null;
}): string {
  const parts = [`${report.job}: data\n${textOf(report.data)}`];
  if (report.test) parts.push(`${report.job}: test data\n${textOf(report.test)}`);
  return parts.join("\n\n");
}

function textOf(report: DataReport): string {
  const { split, samples, format, files, digest } = report;
  const validation =
    split.take === null
      ? []
      : [
          [
            "split",
            `${formatCount(split.training)} for training, ${formatCount(split.validation)} for validation (${split.take})`,
          ],
        ];
  const rows = [
    ["format", format],
    ...files.map((file, i) => [i === 0 ? "files" : "", printable(file)]),
    ["digest", digest],
    ["samples", formatCount(samples)],
    ...validation,
  ];
  return [table(rows), columnTable(report), classTable(report), firstSamples(report)]
    .filter((part) => part !== "")
    .join("\n\n");
}

function columnTable({ features, label }: DataReport): string {
  const row = (column: ColumnSummary, role: string) => [
    role,
    printable(column.name ?? "–"),
    column.type,
    column.shape.length === 0 ? "–" : column.shape.join(" × "),
    ...ranges(column),
  ];
  const shown = features.slice(0, mostColumns);
  const more = features.length - shown.length;
  const left = more === 0 ? [] : [["", `… and ${plural(more, "more column")}`, "", "", "", "", ""]];
  const head = ["", "column", "type", "shape", "min", "max", "mean"];
  const rows = shown.map((column, i) => row(column, i === 0 ? "features" : ""));
  return table([head, ...rows, ...left, row(label, "label")], [4, 5, 6]);
}

/** Characters have no mean. */
function ranges({ type, minimum, maximum, mean }: ColumnSummary): string[] {
  if (type === "character") return ["–", "–", "–"];
  return [float32Text(minimum), float32Text(maximum), formatValue(mean)];
}

function classTable({ classes, split, label }: DataReport): string {
  if (classes === null) return "";
  const value = valueWriter(label);
  const head = split.take === null ? ["class", "samples"] : ["class", "training", "validation"];
  const rows = classes.slice(0, mostClassRows).map((one) => {
    const counts = split.take === null ? [one.training] : [one.training, one.validation];
    return [value(one.value), ...counts.map(formatCount)];
  });
  const more = classes.length - rows.length;
  if (more > 0) rows.push([`… and ${more} more`, ...head.slice(1).map(() => "")]);
  return table([head, ...rows], [1, 2]);
}

function firstSamples({ first, features, label }: DataReport): string {
  const lines = first.map((sample, index) => {
    const shown = sample.features.slice(0, mostValues).map(valueWriter(features[0]!));
    if (shown.length < sample.features.length) shown.push(`… (${formatCount(sample.features.length)})`);
    return wrapList(
      `sample ${index}: ${sample.label.slice(0, mostValues).map(valueWriter(label)).join(" ")} ← `,
      shown,
    );
  });
  return lines.join("\n");
}

function valueWriter({ type }: ColumnSummary): (value: number) => string {
  return type === "character" ? (value) => JSON.stringify(String.fromCharCode(value)) : float32Text;
}
