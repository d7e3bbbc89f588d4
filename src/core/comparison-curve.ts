/** Several runs in one picture: loss, and what each of them monitors, a colour a run. */
import {
  bestDot,
  type Covering,
  isCovering,
  drawPanel,
  finiteValue,
  layOut,
  line,
  margin,
  nothingToDraw,
  type Page,
  type Paint,
  type Panel,
  type Series,
  shorten,
  svgPage,
  text,
  width,
} from "./curve-parts.ts";
import type { ScaleKind } from "./curve-scale.ts";
import { bestEpoch, type RunHistory } from "./run-history.ts";

/** More could not be told apart. */
export const mostRunsInPicture = 6;
const colours: readonly Paint[] = ["training", "validation", "best", "violet", "ochre", "rose"];
const legendTop = 80;

/**
 * A standalone SVG of 800 × 450. Validation is a line, training a faint one behind it; without validation, training is the line. A
 * dot is a run's best epoch.
 * @param runs at most `mostRunsInPicture`, of which at least one has an epoch
 */
export function comparisonCurve(
  runs: readonly (RunHistory & { readonly name: string })[],
  page: Page = "auto",
  scale: ScaleKind = "auto",
): string {
  const bases = new Set(["loss", ...runs.map(({ policy }) => policy.monitor.replace(/^val_/, ""))]);
  const panels = layOut(
    [...bases].map((name) => ({ name, series: seriesOf(runs, name) })),
    142,
  );
  const numbers = runs.flatMap(({ history }) => history.map(({ epoch }) => epoch));
  const range = [
    numbers.reduce((a, b) => Math.min(a, b), Infinity),
    numbers.reduce((a, b) => Math.max(a, b), 0),
  ] as const;
  const body = [
    key(panels),
    legend(runs.map(({ name }) => name)),
    ...panels.flatMap((panel) => {
      const drawn = drawPanel(panel, range, scale);
      const dots = runs.flatMap(({ history }, i) => {
        const best = bestEpoch(history);
        const shown = panel.series.find(({ paint, faint }) => paint === colours[i] && !faint);
        return best && shown ? bestDot(shown, best, drawn, 4.5) : [];
      });
      return ["<g>", ...drawn.below, ...drawn.above, ...dots, "</g>"];
    }),
    ...(panels.length === 0 ? [nothingToDraw()] : []),
  ];
  const title = `${runs.length} runs: ${panels.map(({ name }) => shorten(name)).join(" and ") || "loss"}`;
  return svgPage(page, { title, summary: summaryOf(panels), body });
}

const isValidation = ({ metric }: Series): boolean => metric.startsWith("val_");

/** What the lines are of, in words; runs of which some have no validation need them. */
function summaryOf(panels: readonly Panel[]): string {
  const all = panels.flatMap(({ series }) => series);
  const plain = all.filter(({ faint }) => !faint);
  const what = all.some(isValidation) ? "validation" : "training";
  const besides = all.length > plain.length ? ", and fainter training" : "";
  const without = plain.every(isValidation) || what === "training" ? "" : ", or training where a run has no validation";
  return `${all.length === 0 ? "" : `${what}${besides}${without}; `}a dot is a run's best epoch`;
}

/** Which lines are which, at the top on the right. */
function key(panels: readonly Panel[]): string {
  const all = panels.flatMap(({ series }) => series);
  const plain = `stroke-width="2.5" stroke-linecap="round"`;
  const items = [
    ...(all.some(isCovering) ? [{ name: "equal", stroke: `stroke-width="2.5" stroke-dasharray="6 6"` }] : []),
    ...(all.some(({ faint }) => faint)
      ? [{ name: "training", stroke: `stroke-width="1.5" stroke-opacity="0.45" stroke-linecap="round"` }]
      : []),
    ...(all.length > 0 ? [{ name: all.some(isValidation) ? "validation" : "training", stroke: plain }] : []),
  ];
  const drawn = items.map(({ name, stroke }, i) => {
    const x = width - margin - (items.length - i) * 88;
    return line("ink", x, 33, x + 20, 33, stroke) + text("quiet", x + 27, 37, name);
  });
  return `<g>${drawn.join("")}</g>`;
}

/** The faint lines first, so that they lie behind. */
function seriesOf(runs: readonly RunHistory[], name: string): readonly Series[] {
  const all = runs.flatMap(({ history }, i): Series[] => {
    const has = (metric: string) => history.some((record) => finiteValue(record, metric) !== null);
    const validated = has(`val_${name}`);
    const series = (metric: string) => {
      const covers = coveringOf(history, runs.slice(0, i), metric);
      return { paint: colours[i]!, epochs: history, metric, covers };
    };
    return [
      ...(has(name) ? [{ ...series(name), faint: validated }] : []),
      ...(validated ? [{ ...series(`val_${name}`), faint: false }] : []),
    ];
  });
  return [...all.filter(({ faint }) => faint), ...all.filter(({ faint }) => !faint)];
}

/** Runs are often equal bit for bit, for a while or to the end: then the lines of those that were drawn before lie below. */
function coveringOf(history: RunHistory["history"], before: readonly RunHistory[], metric: string): Covering {
  const shared = before.map((other) => {
    const end = history.findIndex(({ epoch, metrics }, i) => {
      const one = other.history[i];
      return one?.epoch !== epoch || !Object.is(one.metrics[metric], metrics[metric]);
    });
    return end < 0 ? history.length : end;
  });
  return { epochs: Math.max(0, ...shared), lines: shared.filter((epochs) => epochs > 0).length };
}

function legend(names: readonly string[]): string {
  const room = (width - 2 * margin) / Math.max(names.length, 3);
  const most = Math.floor((room - 40) / 6.8);
  const items = names.map((name, i) => {
    const x = margin + i * room;
    const label = name.length <= most ? name : `${name.slice(0, most - 1)}…`;
    const mark = line(
      colours[i]!,
      x,
      legendTop - 4,
      x + 20,
      legendTop - 4,
      `stroke-width="2.5" stroke-linecap="round"`,
    );
    return mark + text("quiet", x + 27, legendTop, label);
  });
  return `<g>${items.join("")}</g>`;
}
