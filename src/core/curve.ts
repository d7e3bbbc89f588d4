/**
 * The lesson of checkpointing as a picture: how training and validation went, and which epoch was kept as the best.
 *
 * One panel for the loss; a second one beside it when the monitored metric is something else. The file stands alone:
 * no scripts, no fonts of its own. It is drawn for a light page by plain attributes, which every viewer understands,
 * and a style sheet repaints it for a dark one where the viewer knows of such things.
 */
import type { CheckpointPolicy } from "./checkpoint-policy.ts";
import { epochScale, type Scale, valueScale } from "./curve-scale.ts";
import { formatCount, formatValue } from "./number-format.ts";
import type { EpochHistory } from "./status.ts";

const width = 800;
const height = 450;
const margin = 28;
/** Between two panels. */
const gap = 24;

/** Colours on a light page, and on a dark one; the names are the style sheet's classes. */
const paints = {
  page: { light: "#ffffff", dark: "#11151c" },
  ink: { light: "#1c2330", dark: "#e8ecf3" },
  quiet: { light: "#5b6577", dark: "#9aa5b8" },
  grid: { light: "#e6e9ef", dark: "#262d3a" },
  training: { light: "#3567d6", dark: "#7fa8ff" },
  validation: { light: "#d9480f", dark: "#ff9e5e" },
  best: { light: "#0b7f58", dark: "#46d39e" },
} as const;
type Paint = keyof typeof paints;

interface Series {
  readonly paint: "training" | "validation";
  readonly metric: string;
}

interface Panel {
  readonly name: string;
  /** Whether the name stands above the plot. */
  readonly named: boolean;
  readonly series: readonly Series[];
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/**
 * A standalone SVG of 800 × 450: loss, and the monitored metric if that is not a loss, over epochs. Values that are no
 * finite number, and epochs without a record, are gaps. Long histories are thinned out without losing a spike.
 */
export function lossCurve(history: readonly EpochHistory[], policy: CheckpointPolicy): string {
  const epochs = [...new Map(history.map((record) => [record.epoch, record])).values()].sort(
    (a, b) => a.epoch - b.epoch,
  );
  const best = epochs.findLast((record) => record.improved) ?? null;
  const panels = layOut(epochs, policy);
  const title = titleOf(panels);
  const summary = summaryOf(epochs, best, policy);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="title summary" font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif" font-size="12">`,
    `<title id="title">${escapeText(title)}</title>`,
    `<desc id="summary">${escapeText(summary)}</desc>`,
    `<style>@media (prefers-color-scheme: dark) { ${darkRules()} }</style>`,
    `<rect class="fill-page" width="${width}" height="${height}" fill="${paints.page.light}"/>`,
    text("ink", margin, 37, title, { size: 17, weight: 600 }),
    text("quiet", margin, 58, summary, { size: 12.5 }),
    legend(panels),
    ...panels.flatMap((panel) => drawPanel(panel, epochs, best, policy)),
    ...(panels.length === 0 && epochs.length > 0 ? [nothingToDraw()] : []),
    "</svg>",
    "",
  ].join("\n");
}

/** Which metrics go where. A series of which no value is finite is not drawn. */
function layOut(epochs: readonly EpochHistory[], { monitor }: CheckpointPolicy): Panel[] {
  const drawn = (metric: string): boolean => epochs.some((record) => finiteValue(record, metric) !== null);
  const base = monitor.replace(/^val_/, "");
  const names = base === "loss" ? ["loss"] : ["loss", base];
  const series = (name: string): Series[] => [
    { paint: "training", metric: name },
    { paint: "validation", metric: `val_${name}` },
  ];
  const all = names.map((name) => ({ name, series: series(name).filter(({ metric }) => drawn(metric)) }));
  const kept = all.filter((panel) => panel.series.length > 0);
  const share = (width - 2 * margin + gap) / Math.max(1, kept.length);
  const named = kept.length > 1;
  return kept.map((panel, index) => {
    const left = margin + index * share;
    return { ...panel, named, left, right: left + share - gap, top: named ? 122 : 104, bottom: height - 50 };
  });
}

function nothingToDraw(): string {
  return text("quiet", width / 2, height / 2, "Nothing to draw: no value is a finite number.", {
    size: 14,
    anchor: "middle",
  });
}

function titleOf(panels: readonly Panel[]): string {
  const validated = panels.some((panel) => panel.series.some(({ paint }) => paint === "validation"));
  const names = panels.map((panel) => shorten(panel.name)).join(" and ") || "loss";
  return validated ? `Training and validation: ${names}` : `Training: ${names}`;
}

function summaryOf(
  epochs: readonly EpochHistory[],
  best: EpochHistory | null,
  { monitor, mode }: CheckpointPolicy,
): string {
  const last = epochs.at(-1);
  if (last === undefined) return "No epoch has been completed yet.";
  const so = `${formatCount(last.epoch)} epoch${last.epoch === 1 ? "" : "s"}`;
  const name = shorten(monitor);
  if (best === null) return `${so}; none is best, since ${name} was never a finite number`;
  const extreme = mode === "min" ? "lowest" : "highest";
  return `${so}; best is epoch ${formatCount(best.epoch)}, with the ${extreme} ${name}: ${formatValue(best.metrics[monitor])}`;
}

function legend(panels: readonly Panel[]): string {
  const present = (["training", "validation"] as const).filter((paint) =>
    panels.some((panel) => panel.series.some((series) => series.paint === paint)),
  );
  const items = present.map((paint, index) => {
    const x = width - margin - (present.length - index) * 88;
    return (
      line(paint, x, 33, x + 20, 33, `stroke-width="2.5" stroke-linecap="round"`) + text("quiet", x + 27, 37, paint)
    );
  });
  return `<g>${items.join("")}</g>`;
}

function drawPanel(
  frame: Panel,
  epochs: readonly EpochHistory[],
  best: EpochHistory | null,
  { monitor }: CheckpointPolicy,
): string[] {
  const values = frame.series.flatMap(({ metric }) =>
    epochs.map((record) => finiteValue(record, metric)).filter((value) => value !== null),
  );
  const vertical = valueScale(values, frame.bottom, frame.top);
  const labelWidth = Math.max(...vertical.ticks.map(({ label }) => textWidth(label)));
  const panel = { ...frame, left: frame.left + labelWidth + 8 };
  const horizontal = epochScale(epochs[0]!.epoch, epochs.at(-1)!.epoch, panel.left, panel.right);
  const monitored = panel.series.some(({ metric }) => metric === monitor);
  const shown = panel.series.find(({ metric }) => metric === monitor) ?? panel.series.at(-1)!;
  return [
    `<g>`,
    ...axes(panel, frame, horizontal, vertical),
    ...(best === null ? [] : bestLine(panel, horizontal, best, monitored ? monitor : null)),
    ...panel.series.map((series) => curve(series, epochs, horizontal, vertical)),
    ...(best === null ? [] : bestDot(shown.metric, best, horizontal, vertical, monitored)),
    `</g>`,
  ];
}

function axes(panel: Panel, frame: Panel, horizontal: Scale, vertical: Scale): string[] {
  const { left, right, top, bottom } = panel;
  return [
    // A single panel is named by the title.
    ...(panel.named ? [text("ink", frame.left, top - 30, shorten(panel.name), { size: 13, weight: 600 })] : []),
    ...(vertical.logarithmic ? [text("quiet", frame.left, bottom + 37, "logarithmic scale")] : []),
    ...vertical.ticks.map(({ value, label }) => {
      const y = vertical.at(value);
      return line("grid", left, y, right, y) + text("quiet", left - 8, y + 4, label, { anchor: "end" });
    }),
    line("quiet", left, bottom, right, bottom, `stroke-opacity="0.6"`),
    ...horizontal.ticks.map(({ value, label }) => {
      const x = horizontal.at(value);
      const tick = line("quiet", x, bottom, x, bottom + 4, `stroke-opacity="0.6"`);
      return tick + text("quiet", x, bottom + 18, label, { anchor: "middle" });
    }),
    text("quiet", (left + right) / 2, bottom + 37, "epoch", { anchor: "middle" }),
  ];
}

/** The vertical line at the best epoch, labelled above the plot, where no curve can run into the words. */
function bestLine(panel: Panel, horizontal: Scale, best: EpochHistory, monitor: string | null): string[] {
  const x = horizontal.at(best.epoch);
  const value = monitor === null ? "" : `, ${formatValue(best.metrics[monitor])}`;
  const label = `★ best: epoch ${formatCount(best.epoch)}${value}`;
  const half = textWidth(label) / 2 + 4;
  const centre = Math.min(Math.max(x, panel.left + half), panel.right - half);
  return [
    line("best", x, panel.top - 6, x, panel.bottom, `stroke-width="1.5" stroke-dasharray="4 4"`),
    text("best", centre, panel.top - 12, label, { anchor: "middle", weight: 600 }),
  ];
}

function bestDot(metric: string, best: EpochHistory, horizontal: Scale, vertical: Scale, monitored: boolean): string[] {
  const value = finiteValue(best, metric);
  if (value === null) return [];
  const at = `cx="${pixel(horizontal.at(best.epoch))}" cy="${pixel(vertical.at(value))}"`;
  const page = `class="fill-best stroke-page" fill="${paints.best.light}" stroke="${paints.page.light}"`;
  return [`<circle ${at} r="${monitored ? 5.5 : 4}" ${page} stroke-width="2"/>`];
}

function curve({ paint, metric }: Series, epochs: readonly EpochHistory[], horizontal: Scale, vertical: Scale): string {
  const parts: [number, number][][] = [];
  let previous = Number.NaN;
  for (const record of epochs) {
    const value = finiteValue(record, metric);
    if (value === null) continue;
    if (record.epoch !== previous + 1 || parts.length === 0) parts.push([]);
    parts.at(-1)!.push([horizontal.at(record.epoch), vertical.at(value)]);
    previous = record.epoch;
  }
  // Several points above a pixel make a band, which a thin line draws more truly.
  const crowded = epochs.length > width;
  const stroke = (d: string, strokeWidth: number): string =>
    d === ""
      ? ""
      : `<path class="stroke-${paint}" d="${d}" fill="none" stroke="${paints[paint].light}" stroke-width="${strokeWidth}" stroke-linecap="round" stroke-linejoin="round"/>`;
  const lines = parts.filter((part) => part.length > 1).map((part) => `M${thinned(part).map(coordinates).join("L")}`);
  // A lone point is a line of no length, which round ends make a dot.
  const dots = parts.filter((part) => part.length === 1).map((part) => `M${coordinates(part[0]!)}h0`);
  return stroke(lines.join(""), crowded ? 1 : 2.25) + stroke(dots.join(""), crowded ? 1 : 7);
}

function coordinates([x, y]: readonly [number, number]): string {
  return `${pixel(x)} ${pixel(y)}`;
}

/** Of the points above one pixel: the first, the lowest, the highest and the last. Nobody can see the others. */
function thinned(points: readonly [number, number][]): [number, number][] {
  const columns = new Map<number, [number, number][]>();
  for (const point of points) {
    const column = columns.get(Math.round(point[0]));
    if (column) column.push(point);
    else columns.set(Math.round(point[0]), [point]);
  }
  return [...columns.values()].flatMap((column) => {
    if (column.length <= 4) return column;
    const byHeight = [...column].sort(([, a], [, b]) => a - b);
    const kept = new Set([column[0]!, byHeight[0]!, byHeight.at(-1)!, column.at(-1)!]);
    return column.filter((point) => kept.has(point));
  });
}

/** Sizes beyond 1e300 would overflow the arithmetic of the scales; they are as good as infinite. */
function finiteValue(record: EpochHistory, metric: string): number | null {
  const value = record.metrics[metric];
  return typeof value === "number" && Math.abs(value) <= 1e300 ? value : null;
}

function line(paint: Paint, x1: number, y1: number, x2: number, y2: number, more = ""): string {
  const ends = `x1="${pixel(x1)}" y1="${pixel(y1)}" x2="${pixel(x2)}" y2="${pixel(y2)}"`;
  return `<line class="stroke-${paint}" ${ends} stroke="${paints[paint].light}"${more === "" ? "" : ` ${more}`}/>`;
}

interface TextOptions {
  readonly size?: number;
  readonly weight?: number;
  readonly anchor?: "middle" | "end";
}

function text(paint: Paint, x: number, y: number, content: string, options: TextOptions = {}): string {
  const { size, weight, anchor } = options;
  const attributes = [
    ...(size === undefined ? [] : [`font-size="${size}"`]),
    ...(weight === undefined ? [] : [`font-weight="${weight}"`]),
    ...(anchor === undefined ? [] : [`text-anchor="${anchor}"`]),
    `class="fill-${paint}" fill="${paints[paint].light}"`,
  ];
  return `<text x="${pixel(x)}" y="${pixel(y)}" ${attributes.join(" ")}>${escapeText(content)}</text>`;
}

/** An estimate in pixels at size 12; the reader's font is not known. */
function textWidth(content: string): number {
  return content.length * 6.8;
}

function pixel(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function shorten(name: string): string {
  return name.length <= 28 ? name : `${name.slice(0, 27)}…`;
}

function escapeText(content: string): string {
  const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  // Control characters are not allowed in XML, not even escaped.
  return content.replaceAll(/\p{Cc}|\p{Cs}/gu, "�").replaceAll(/[&<>"']/g, (character) => entities[character]!);
}

function darkRules(): string {
  return Object.entries(paints)
    .map(([name, { dark }]) => `.fill-${name} { fill: ${dark}; } .stroke-${name} { stroke: ${dark}; }`)
    .join(" ");
}
