import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { paints } from "../../src/core/curve-parts.ts";
import { type Scale, type ScaleKind, valueScale } from "../../src/core/curve-scale.ts";
import type { EpochHistory } from "../../src/core/status.ts";
import { moveFocus } from "./roving.ts";
import { smoothed } from "./smoothing.ts";
import type { Theme } from "./theme.ts";
import { formatCount, formatValue } from "./words.ts";

/** A moment at which the membership changed. */
export interface Mark {
  /** Completed epochs and the part of the next. */
  readonly epoch: number;
  readonly text: string;
}

interface Props {
  /** Of the metric, without "val_". */
  readonly name: string;
  readonly epochs: readonly EpochHistory[];
  readonly best: EpochHistory | null;
  readonly isMonitored: boolean;
  readonly marks: readonly Mark[];
  readonly smoothing: number;
  readonly scale: ScaleKind;
  readonly theme: Theme;
}

const height = 280;
/** Where things of the page lie above the plot, in pixels of the chart's box. */
interface Places {
  readonly top: number;
  readonly bottom: number;
  readonly marks: readonly { readonly left: number; readonly mark: Mark }[];
  readonly best: { readonly left: number; readonly top: number } | null;
}

export function CurveChart(props: Props) {
  const { name, epochs, best, isMonitored, marks, smoothing, scale, theme } = props;
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const { logarithmic } = verticalOf(props).scale;
  const [places, setPlaces] = useState<Places | null>(null);
  const [said, setSaid] = useState<{ readonly text: string; readonly left: number } | null>(null);
  const [cursor, setCursor] = useState<number | null>(null);

  // The chart is made anew for another theme, and another kind of scale; else only its data change.
  useEffect(() => {
    const element = box.current!;
    const plot = new uPlot(
      options(element.clientWidth, theme, {
        onDraw: (drawn) => setPlaces((before) => same(before, placesOf(drawn, latest.current))),
        onCursor: setCursor,
        vertical: () => verticalOf(latest.current),
      }),
      dataOf(latest.current),
      element,
    );
    chart.current = plot;
    const resizing = new ResizeObserver(() => {
      if (element.clientWidth > 0) plot.setSize({ width: element.clientWidth, height });
    });
    resizing.observe(element);
    return () => {
      resizing.disconnect();
      plot.destroy();
      chart.current = null;
    };
  }, [theme, logarithmic]);
  useEffect(() => {
    chart.current?.setData(dataOf(latest.current));
  }, [epochs, best, marks, smoothing, scale]);

  const pointed = cursor === null ? null : (epochs[cursor] ?? null);
  const last = epochs.at(-1) ?? null;
  const shown = pointed ?? last;
  const isEmpty = valuesOf(props).length === 0;
  return (
    <figure class="chart">
      <figcaption>
        <strong>
          {name}
          {logarithmic && <span class="aside"> logarithmic</span>}
        </strong>
        <span class="values">
          {shown && (
            <>
              epoch {formatCount(shown.epoch)}
              <span class="training">{formatValue(shown.metrics[name])}</span>
              {`val_${name}` in shown.metrics && (
                <span class="validation">{formatValue(shown.metrics[`val_${name}`])}</span>
              )}
            </>
          )}
        </span>
      </figcaption>
      <div class="plot">
        <div ref={box} role="img" aria-label={summaryOf(name, epochs, best)} />
        {isEmpty && <p class="nothing">Nothing to draw: no value is a finite number.</p>}
        {places?.best && best && (
          <p class="best-label" style={{ left: `${places.best.left}px` }}>
            ★ epoch {formatCount(best.epoch)}
            {isMonitored && <>, {formatValue(best.metrics[`val_${name}`] ?? best.metrics[name])}</>}
          </p>
        )}
        {places && places.marks.length > 0 && (
          <div class="marks" role="toolbar" aria-label={`${name}: where the membership changed`} onKeyDown={moveFocus}>
            {places.marks.map(({ left, mark }, i) => (
              <button
                key={mark.text}
                type="button"
                class="mark"
                tabIndex={i === places.marks.length - 1 ? 0 : -1}
                style={{ left: `${left}px`, top: `${places.top}px`, height: `${places.bottom - places.top}px` }}
                aria-label={mark.text}
                onMouseEnter={() => setSaid({ text: mark.text, left })}
                onMouseLeave={() => setSaid(null)}
                onFocus={() => setSaid({ text: mark.text, left })}
                onBlur={() => setSaid(null)}
              />
            ))}
          </div>
        )}
        {said !== null && (
          <p class="tooltip" style={besideMark(said.left, box.current?.clientWidth ?? 0)}>
            {said.text}
          </p>
        )}
      </div>
    </figure>
  );
}

/** To the right of a line in the left half, and to the left of one in the right half. */
function besideMark(left: number, width: number): Record<"left" | "right", string> {
  return left < width / 2
    ? { left: `${left + 10}px`, right: "8px" }
    : { left: "auto", right: `${width - left + 10}px` };
}

/** A scale as `curve.svg` would have it. */
interface Vertical {
  readonly scale: Scale;
  /** None where no value is known: a number beside an empty chart would say that there are some. */
  readonly ticks: Scale["ticks"];
}

/** All that can be drawn. */
function valuesOf({ name, epochs }: Props): readonly number[] {
  const values = epochs.flatMap(({ metrics }) => [metrics[name], metrics[`val_${name}`]].map(finite));
  return values.filter((value) => value !== null);
}

function verticalOf(props: Props): Vertical {
  const known = valuesOf(props);
  const scale = valueScale(known.length > 0 ? known : [0], 0, 1, props.scale);
  return { scale, ticks: known.length > 0 ? scale.ticks : [] };
}

interface Hooks {
  readonly onDraw: (chart: uPlot) => void;
  readonly onCursor: (index: number | null) => void;
  readonly vertical: () => Vertical;
}

function options(width: number, theme: Theme, { onDraw, onCursor, vertical }: Hooks): uPlot.Options {
  const paint = (name: keyof typeof paints) => paints[name][theme];
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const axis = {
    stroke: paint("quiet"),
    font,
    ticks: { show: false },
    grid: { stroke: paint("grid"), width: 1 },
  };
  const line = (name: "training" | "validation", strokeWidth: number, alpha: number) => ({
    label: name,
    stroke: `${paint(name)}${Math.round(alpha * 255)
      .toString(16)
      .padStart(2, "0")}`,
    width: strokeWidth,
    spanGaps: false,
    // Whole pixels would make stairs of a line that falls slowly.
    pxAlign: 0,
    points: { show: (_: uPlot, __: number, from: number, to: number) => to - from < 2, size: 6, fill: paint(name) },
  });
  return {
    ...{ width, height, padding: [26, 12, 0, 0], legend: { show: false } },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: {
      x: { time: false, range: (_chart, low, high) => [Math.min(low, 1) - 0.5, Math.max(high, 2) + 0.5] },
      y: { distr: vertical().scale.logarithmic ? 3 : 1, range: () => [...vertical().scale.ends] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        space: 60,
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000],
        size: 30,
      },
      {
        ...{ ...axis, size: 58 },
        splits: () => vertical().ticks.map(({ value }) => value),
        // Left to itself it names few ticks of a logarithmic scale.
        filter: (_chart, splits) => splits,
        values: () => vertical().ticks.map(({ label }) => label),
      },
    ],
    // Faint as they are, and plain when smoothed.
    series: [
      { label: "epoch" },
      line("training", 2, 0.3),
      line("validation", 2, 0.3),
      line("training", 2.25, 1),
      line("validation", 2.25, 1),
    ],
    hooks: {
      draw: [
        (chart) => {
          drawBest(chart, paint("best"));
          onDraw(chart);
        },
      ],
      setCursor: [(chart) => onCursor(chart.cursor.idx ?? null)],
    },
  };
}

/** Set with the data: the hook knows the chart alone. */
const bests = new WeakMap<uPlot.AlignedData, { readonly epoch: number; readonly value: number | null }>();

function drawBest(chart: uPlot, colour: string): void {
  const best = bests.get(chart.data);
  if (!best) return;
  const { ctx, bbox } = chart;
  const x = chart.valToPos(best.epoch, "x", true);
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.fillStyle = colour;
  ctx.lineWidth = 1.5 * ratio;
  ctx.setLineDash([4 * ratio, 4 * ratio]);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top - 4 * ratio);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  if (best.value !== null) {
    ctx.beginPath();
    ctx.arc(x, chart.valToPos(best.value, "y", true), 4.5 * ratio, 0, 2 * Math.PI);
    ctx.fill();
  }
  ctx.restore();
}

/** Raw and smoothed, training and validation. Without smoothing there is one of each. */
function dataOf({ name, epochs, best, smoothing }: Props): uPlot.AlignedData {
  const values = (metric: string) => epochs.map(({ metrics }) => finite(metrics[metric]));
  const [training, validation] = [values(name), values(`val_${name}`)];
  const none = epochs.map(() => null);
  const [raw, plain] =
    smoothing === 0
      ? [
          [none, none],
          [training, validation],
        ]
      : [
          [training, validation],
          [smoothed(training, smoothing), smoothed(validation, smoothing)],
        ];
  const data: uPlot.AlignedData = [epochs.map(({ epoch }) => epoch), ...raw!, ...plain!];
  if (best) bests.set(data, { epoch: best.epoch, value: finite(best.metrics[`val_${name}`] ?? best.metrics[name]) });
  return data;
}

function finite(value: number | undefined): number | null {
  return value !== undefined && Number.isFinite(value) ? value : null;
}

function placesOf(chart: uPlot, { marks, best }: Props): Places {
  const ratio = devicePixelRatio;
  const { min = 0, max = 0 } = chart.scales.x ?? {};
  const left = (epoch: number) => Math.round(chart.bbox.left / ratio + chart.valToPos(epoch, "x"));
  const inside = marks.filter(({ epoch }) => epoch >= (min ?? 0) && epoch <= (max ?? 0));
  const top = chart.bbox.top / ratio;
  return {
    top,
    bottom: top + chart.bbox.height / ratio,
    marks: inside.map((mark) => ({ left: left(mark.epoch), mark })),
    best: best && { left: Math.min(Math.max(left(best.epoch), 70), chart.width - 66), top },
  };
}

/** The one before, where nothing has moved: drawing must not lead to drawing for ever. */
function same(before: Places | null, now: Places): Places {
  return before && JSON.stringify(before) === JSON.stringify(now) ? before : now;
}

function summaryOf(name: string, epochs: readonly EpochHistory[], best: EpochHistory | null): string {
  const last = epochs.at(-1);
  if (!last) return `${name}: no epoch has been completed yet.`;
  const values = [
    `training ${formatValue(last.metrics[name])}`,
    ...(`val_${name}` in last.metrics ? [`validation ${formatValue(last.metrics[`val_${name}`])}`] : []),
  ].join(", ");
  const kept = best ? ` Best is epoch ${formatCount(best.epoch)}.` : "";
  return `${name} over ${formatCount(last.epoch)} epochs; at the end ${values}.${kept} All numbers are in the table below.`;
}
