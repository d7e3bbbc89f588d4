/**
 * The lesson of checkpointing as a picture: how training and validation went, and which epoch was kept as the best.
 *
 * One panel for the loss; a second one beside it when the monitored metric is something else. The file stands alone:
 * no scripts, no fonts of its own. It is drawn for a light page by plain attributes, which every viewer understands;
 * where the page may be a dark one, a style sheet repaints it, if the viewer knows of such things.
 */
import type { CheckpointPolicy } from "./checkpoint-policy.ts";
import {
  bestDot,
  type DrawnPanel,
  drawPanel,
  finiteValue,
  height,
  layOut,
  line,
  margin,
  nothingToDraw,
  type Page,
  type Panel,
  type Series,
  shorten,
  svgPage,
  text,
  textWidth,
  width,
} from "./curve-parts.ts";
import type { ScaleKind } from "./curve-scale.ts";
import { formatCount, formatValue } from "./number-format.ts";
import type { EpochHistory } from "./status.ts";

/** How a curve is drawn, where it is not as everywhere. */
export interface CurveOptions {
  readonly page?: Page;
  readonly scale?: ScaleKind;
  /** Whose curve it is; a picture is soon far from the folder that it was drawn from. */
  readonly of?: { readonly job: string; readonly run: number | null };
}

/**
 * A standalone SVG of 800 × 450: loss, and the monitored metric if that is not a loss, over epochs. Values that are no
 * finite number, and epochs without a record, are gaps. Long histories are thinned out without losing a spike.
 */
export function lossCurve(
  history: readonly EpochHistory[],
  policy: CheckpointPolicy,
  { page = "auto", scale = "auto", of }: CurveOptions = {},
): string {
  const epochs = [...new Map(history.map((record) => [record.epoch, record])).values()].sort(
    (a, b) => a.epoch - b.epoch,
  );
  const best = epochs.findLast((record) => record.improved) ?? null;
  const panels = layOut(panelsOf(epochs, policy), 122);
  const body = [
    legend(panels),
    ...panels.flatMap((panel) => {
      const drawn = drawPanel(panel, [epochs[0]!.epoch, epochs.at(-1)!.epoch], scale);
      return [
        `<g>`,
        ...drawn.below,
        ...bestLine(drawn, best, policy),
        ...drawn.above,
        ...dot(drawn, best, policy),
        `</g>`,
      ];
    }),
    ...(panels.length === 0 && epochs.length > 0 ? [nothingToDraw()] : []),
    ...(of ? [caption(of)] : []),
  ];
  return svgPage(page, { title: titleOf(panels), summary: summaryOf(epochs, best, policy), body });
}

/** Which metrics go where. A series of which no value is finite is not drawn. */
function panelsOf(
  epochs: readonly EpochHistory[],
  { monitor }: CheckpointPolicy,
): readonly Pick<Panel, "name" | "series">[] {
  const base = monitor.replace(/^val_/, "");
  const series = (name: string): Series[] => [
    { paint: "training", metric: name, epochs },
    { paint: "validation", metric: `val_${name}`, epochs },
  ];
  const drawn = ({ metric }: Series): boolean => epochs.some((record) => finiteValue(record, metric) !== null);
  const names = base === "loss" ? ["loss"] : ["loss", base];
  return names.map((name) => ({ name, series: series(name).filter(drawn) }));
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

/** In the corner below the last panel: so short that it does not run into the word "epoch". */
function caption({ job, run }: NonNullable<CurveOptions["of"]>): string {
  const label = run === null ? shorten(job, 18) : `${shorten(job, 12)}, run ${run}`;
  return text("quiet", width - margin, height - 13, label, { anchor: "end" });
}

/** The vertical line at the best epoch, labelled above the plot, where no curve can run into the words. */
function bestLine(
  { panel, horizontal }: DrawnPanel,
  best: EpochHistory | null,
  { monitor }: CheckpointPolicy,
): string[] {
  if (best === null) return [];
  const x = horizontal.at(best.epoch);
  const isHere = panel.series.some(({ metric }) => metric === monitor);
  const value = isHere ? `, ${formatValue(best.metrics[monitor])}` : "";
  const label = `★ best: epoch ${formatCount(best.epoch)}${value}`;
  const half = textWidth(label) / 2 + 4;
  const centre = Math.min(Math.max(x, panel.left + half), panel.right - half);
  return [
    line("best", x, panel.top - 6, x, panel.bottom, `stroke-width="1.5" stroke-dasharray="4 4"`),
    text("best", centre, panel.top - 12, label, { anchor: "middle", weight: 600 }),
  ];
}

function dot(drawn: DrawnPanel, best: EpochHistory | null, { monitor }: CheckpointPolicy): string[] {
  if (best === null) return [];
  const { series } = drawn.panel;
  const monitored = series.find(({ metric }) => metric === monitor);
  const { metric } = monitored ?? series.at(-1)!;
  return bestDot({ paint: "best", metric }, best, drawn, monitored ? 5.5 : 4);
}
