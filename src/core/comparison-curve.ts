/** Several runs in one picture: loss, and what each of them monitors, a colour a run. */
import {
  bestDot,
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
  const isValidated = all.some(isValidation);
  const items = [
    ...(all.some(({ faint }) => faint) ? [{ name: "training", faint: true }] : []),
    ...(all.length > 0 ? [{ name: isValidated ? "validation" : "training", faint: false }] : []),
  ];
  const drawn = items.map(({ name, faint }, i) => {
    const x = width - margin - (items.length - i) * 88;
    const stroke = faint ? `stroke-width="1.5" stroke-opacity="0.45"` : `stroke-width="2.5"`;
    return line("ink", x, 33, x + 20, 33, `${stroke} stroke-linecap="round"`) + text("quiet", x + 27, 37, name);
  });
  return `<g>${drawn.join("")}</g>`;
}

/** The faint lines first, so that they lie behind. */
function seriesOf(runs: readonly RunHistory[], name: string): readonly Series[] {
  const all = runs.flatMap(({ history }, i): Series[] => {
    const has = (metric: string) => history.some((record) => finiteValue(record, metric) !== null);
    const series = { paint: colours[i]!, epochs: history };
    const validated = has(`val_${name}`);
    return [
      ...(has(name) ? [{ ...series, metric: name, faint: validated }] : []),
      ...(validated ? [{ ...series, metric: `val_${name}`, faint: false }] : []),
    ];
  });
  return [...all.filter(({ faint }) => faint), ...all.filter(({ faint }) => !faint)];
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
