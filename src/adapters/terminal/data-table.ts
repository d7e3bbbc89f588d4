import { partsOf } from "../../core/columns.ts";
import type { DataReport, ShownValue } from "../../core/data-report.ts";
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
  return [table(rows), columnTable(report), textCounts(report), classTable(report), firstSamples(report)]
    .filter((part) => part !== "")
    .join("\n\n");
}

function columnTable({ features, label, weight }: DataReport): string {
  const hasMissing = features.some(({ missing }) => missing !== undefined);
  const row = (column: ColumnSummary, role: string) => [
    role,
    printable(column.name ?? "–"),
    column.type,
    column.shape.length === 0 ? "–" : column.shape.join(" × "),
    ...ranges(column),
    ...(hasMissing ? [formatCount(column.missing ?? 0)] : []),
  ];
  const shown = features.slice(0, mostColumns);
  const more = features.length - shown.length;
  const head = ["", "column", "type", "shape", "min", "max", "mean", ...(hasMissing ? ["missing"] : [])];
  const left = more === 0 ? [] : [["", `… and ${plural(more, "more column")}`, ...head.slice(2).map(() => "")]];
  const rows = shown.map((column, i) => row(column, i === 0 ? "features" : ""));
  const labels = partsOf<ColumnSummary>(label).map((column, i) => row(column, i === 0 ? "label" : ""));
  const others = [...labels, ...(weight ? [row(weight, "weight")] : [])];
  return table([head, ...rows, ...left, ...others], [4, 5, 6, 7]);
}

/** Characters and codes have no mean. */
function ranges({ type, minimum, maximum, mean }: ColumnSummary): string[] {
  if (textTypes.includes(type)) return ["–", "–", "–"];
  return [float32Text(minimum), float32Text(maximum), formatValue(mean)];
}

const textTypes = ["character", "characters", "category", "words", "piece"];

const nounOf: Readonly<Record<string, string>> = { category: "different text", piece: "piece" };

/** How often each category, and each word, is there; those of a label that is one column are counted as its classes. */
function textCounts({ features, label }: DataReport): string {
  const lines = [...features, ...(label.parts ?? [])].flatMap(({ name, type, texts }) => {
    if (texts === undefined) return [];
    const shown = texts.most.slice(0, mostValues).map(({ text, count }) => `${written(text)} ${formatCount(count)}`);
    if (texts.distinct > shown.length) shown.push("…");
    const what = plural(texts.distinct, nounOf[type] ?? "different word");
    return [wrapList(`${printable(name ?? "–")}: ${what}: `, shown)];
  });
  return lines.join("\n");
}

/** A text that is not to be taken for several. */
function written(text: string): string {
  return /^[^\s,:"]+$/.test(text) ? printable(text) : JSON.stringify(text);
}

function classTable({ classes, split, label }: DataReport): string {
  if (classes === null) return "";
  const value = valueWriter(label);
  const head = split.take === null ? ["class", "samples"] : ["class", "training", "validation"];
  const rows = classes.slice(0, mostClassRows).map((one) => {
    const counts = split.take === null ? [one.training] : [one.training, one.validation];
    return [one.text === undefined ? value(one.value) : written(one.text), ...counts.map(formatCount)];
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

function valueWriter({ type }: ColumnSummary): (value: ShownValue) => string {
  return (value) => {
    if (value === null) return "–";
    if (typeof value === "string") return written(value);
    return type === "character" ? JSON.stringify(String.fromCharCode(value)) : float32Text(value);
  };
}
