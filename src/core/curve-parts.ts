/** What the pictures of curves share: the page and its colours, panels with their axes, and the lines in them. */
import { epochScale, type Scale, type ScaleKind, valueScale } from "./curve-scale.ts";
import type { EpochHistory } from "./status.ts";

export const width = 800;
export const height = 450;
export const margin = 28;
/** Between two panels. */
const gap = 24;
const dashLength = 6;

/** Colours on a light page, and on a dark one; the names are the style sheet's classes. The last tell runs apart. */
export const paints = {
  page: { light: "#ffffff", dark: "#11151c" },
  ink: { light: "#1c2330", dark: "#e8ecf3" },
  quiet: { light: "#5b6577", dark: "#9aa5b8" },
  grid: { light: "#e6e9ef", dark: "#262d3a" },
  training: { light: "#3567d6", dark: "#7fa8ff" },
  validation: { light: "#d9480f", dark: "#ff9e5e" },
  best: { light: "#0b7f58", dark: "#46d39e" },
  violet: { light: "#9333b8", dark: "#d08bf0" },
  ochre: { light: "#8a6d00", dark: "#e0c04a" },
  rose: { light: "#c2255c", dark: "#ff85ac" },
} as const;
export type Paint = keyof typeof paints;

/** Light, dark, or light with a style sheet by which a viewer that is dark repaints it. */
export type Page = "auto" | "light" | "dark";

/** A line of a panel: one metric of one history. */
export interface Series {
  readonly paint: Paint;
  readonly metric: string;
  /** Oldest first. */
  readonly epochs: readonly EpochHistory[];
  /** Drawn behind the others, thinner. */
  readonly faint?: boolean;
  /** The line as far as others lie below it: dashed there, so that they are seen through it. */
  readonly covers?: Covering;
}

export interface Covering {
  /** How many of the first epochs. */
  readonly epochs: number;
  /** How many other lines. */
  readonly lines: number;
}

/** Whether some of it is dashed: a single epoch is only a dot. */
export function isCovering({ covers }: Series): boolean {
  return covers !== undefined && covers.lines > 0 && covers.epochs > 1;
}

export interface Panel {
  readonly name: string;
  /** Whether the name stands above the plot. */
  readonly named: boolean;
  readonly series: readonly Series[];
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** A panel with its scales; what is drawn into it besides belongs between `below` and `above`. */
export interface DrawnPanel {
  readonly panel: Panel;
  readonly horizontal: Scale;
  readonly vertical: Scale;
  readonly below: readonly string[];
  readonly above: readonly string[];
}

/** A standalone SVG of 800 × 450. */
export function svgPage(
  page: Page,
  { title, summary, body }: { title: string; summary: string; body: readonly string[] },
): string {
  const style = { auto: [`@media (prefers-color-scheme: dark) { ${darkRules()} }`], dark: [darkRules()], light: [] };
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="title summary" font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif" font-size="12">`,
    `<title id="title">${escapeText(title)}</title>`,
    `<desc id="summary">${escapeText(summary)}</desc>`,
    ...style[page].map((rules) => `<style>${rules}</style>`),
    `<rect class="fill-page" width="${width}" height="${height}" fill="${paints.page.light}"/>`,
    text("ink", margin, 37, title, { size: 17, weight: 600 }),
    text("quiet", margin, 58, summary, { size: 12.5 }),
    ...body,
    "</svg>",
    "",
  ].join("\n");
}

/** Side by side; those without a series are left out. `top` is where the plots begin if their names stand above them. */
export function layOut(panels: readonly Pick<Panel, "name" | "series">[], top: number): Panel[] {
  const kept = panels.filter((panel) => panel.series.length > 0);
  const share = (width - 2 * margin + gap) / Math.max(1, kept.length);
  const named = kept.length > 1;
  return kept.map((panel, index) => {
    const left = margin + index * share;
    return { ...panel, named, left, right: left + share - gap, top: named ? top : top - 18, bottom: height - 50 };
  });
}

/** The panel from the first of `epochs` to the last. */
export function drawPanel(frame: Panel, [first, last]: readonly [number, number], kind: ScaleKind): DrawnPanel {
  const values = frame.series.flatMap(({ metric, epochs }) =>
    epochs.map((record) => finiteValue(record, metric)).filter((value) => value !== null),
  );
  const vertical = valueScale(values, frame.bottom, frame.top, kind);
  const labelWidth = Math.max(...vertical.ticks.map(({ label }) => textWidth(label)));
  const panel = { ...frame, left: frame.left + labelWidth + 8 };
  const horizontal = epochScale(first, last, panel.left, panel.right);
  const below = axes(panel, frame, horizontal, vertical);
  const above = panel.series.map((series) => curve(series, horizontal, vertical));
  return { panel, horizontal, vertical, below, above };
}

export function nothingToDraw(): string {
  return text("quiet", width / 2, height / 2, "Nothing to draw: no value is a finite number.", {
    size: 14,
    anchor: "middle",
  });
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

function curve(series: Series, horizontal: Scale, vertical: Scale): string {
  const { epochs, covers } = series;
  if (!covers || !isCovering(series)) return stretch(series, horizontal, vertical);
  const covering = { ...series, epochs: epochs.slice(0, covers.epochs) };
  const free = { ...series, epochs: epochs.slice(covers.epochs - 1) };
  const dashes = `${dashLength} ${dashLength * covers.lines}`;
  return (
    stretch(covering, horizontal, vertical, dashes) +
    (epochs.length > covers.epochs ? stretch(free, horizontal, vertical) : "")
  );
}

function stretch(
  { paint, metric, epochs, faint = false }: Series,
  horizontal: Scale,
  vertical: Scale,
  dashes: string | null = null,
): string {
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
  const round = 'stroke-linecap="round"';
  const stroke = (d: string, strokeWidth: number, ends: string): string =>
    d === ""
      ? ""
      : `<path class="stroke-${paint}" d="${d}" fill="none" stroke="${paints[paint].light}" stroke-width="${strokeWidth}" ${ends} stroke-linejoin="round"${faint ? ' stroke-opacity="0.45"' : ""}/>`;
  const lines = parts.filter((part) => part.length > 1).map((part) => `M${thinned(part).map(coordinates).join("L")}`);
  // A lone point is a line of no length, which round ends make a dot.
  const dots = parts.filter((part) => part.length === 1).map((part) => `M${coordinates(part[0]!)}h0`);
  const [line, dot] = crowded ? [1, 1] : faint ? [1.5, 4] : [2.25, 7];
  // Round ends of dashes would close the gaps between them.
  const ends = dashes === null ? round : `stroke-dasharray="${dashes}"`;
  return stroke(lines.join(""), line, ends) + stroke(dots.join(""), dot, round);
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
export function finiteValue(record: EpochHistory, metric: string): number | null {
  const value = record.metrics[metric];
  return typeof value === "number" && Math.abs(value) <= 1e300 ? value : null;
}

export function line(paint: Paint, x1: number, y1: number, x2: number, y2: number, more = ""): string {
  const ends = `x1="${pixel(x1)}" y1="${pixel(y1)}" x2="${pixel(x2)}" y2="${pixel(y2)}"`;
  return `<line class="stroke-${paint}" ${ends} stroke="${paints[paint].light}"${more === "" ? "" : ` ${more}`}/>`;
}

interface TextOptions {
  readonly size?: number;
  readonly weight?: number;
  readonly anchor?: "middle" | "end";
}

export function text(paint: Paint, x: number, y: number, content: string, options: TextOptions = {}): string {
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
export function textWidth(content: string): number {
  return content.length * 6.8;
}

function pixel(value: number): string {
  return String(Math.round(value * 10) / 10);
}

export function shorten(name: string, most = 28): string {
  return name.length <= most ? name : `${name.slice(0, most - 1)}…`;
}

function escapeText(content: string): string {
  const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  // Control characters are not allowed in XML, not even escaped.
  return content.replaceAll(/\p{Cc}|\p{Cs}/gu, "�").replaceAll(/[&<>"']/g, (character) => entities[character]!);
}

/** A dot at the best epoch, ringed by the page's colour so that it stands off the line. */
export function bestDot(
  { paint, metric }: { readonly paint: Paint; readonly metric: string },
  best: EpochHistory,
  { horizontal, vertical }: Pick<DrawnPanel, "horizontal" | "vertical">,
  radius: number,
): string[] {
  const value = finiteValue(best, metric);
  if (value === null) return [];
  const at = `cx="${pixel(horizontal.at(best.epoch))}" cy="${pixel(vertical.at(value))}"`;
  const page = `class="fill-${paint} stroke-page" fill="${paints[paint].light}" stroke="${paints.page.light}"`;
  return [`<circle ${at} r="${radius}" ${page} stroke-width="2"/>`];
}

function darkRules(): string {
  return Object.entries(paints)
    .map(([name, { dark }]) => `.fill-${name} { fill: ${dark}; } .stroke-${name} { stroke: ${dark}; }`)
    .join(" ");
}
