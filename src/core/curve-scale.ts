/** Where values go on the page, and which of them are named beside an axis. */
import { formatCount } from "./number-format.ts";

/** Maps values to pixels along one axis. */
export interface Scale {
  readonly at: (value: number) => number;
  /** The values at its two ends. */
  readonly ends: readonly [low: number, high: number];
  readonly ticks: readonly { readonly value: number; readonly label: string }[];
  readonly logarithmic: boolean;
}

/** "auto" is what shows most of these values; "logarithmic" is linear all the same where a value is not above zero. */
export type ScaleKind = "auto" | "linear" | "logarithmic";

/** Whole epochs from the first to the last. */
export function epochScale(first: number, last: number, left: number, right: number): Scale {
  const span = last - first;
  const at = (epoch: number): number =>
    span === 0 ? (left + right) / 2 : left + ((epoch - first) / span) * (right - left);
  const step = Math.max(1, niceStep(span / Math.max(2, Math.floor((right - left) / 64))));
  const ticks = multiples(first, last, step);
  // The first epoch is where reading begins: name it if the next name is far enough away.
  if (ticks[0] !== first && (ticks.length === 0 || at(ticks[0]!) - at(first) > 30)) ticks.unshift(first);
  const named = ticks.map((value) => ({ value, label: formatCount(value) }));
  return { at, ends: [first, last], ticks: named, logarithmic: false };
}

/** From here on a linear scale shows the largest values alone. */
const farApart = 1000;
/** From here on it presses the small ones together: of a loss that falls from 2.3 to 0.06, whether it rises again. */
const apart = 20;

/** @param values finite, at least one */
export function valueScale(values: readonly number[], bottom: number, top: number, kind: ScaleKind = "auto"): Scale {
  // Not spread into Math.min: a history can be longer than an argument list.
  const lowest = values.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);
  const highest = values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  const isWide = highest / lowest >= farApart || (highest / lowest >= apart && areMostlyLow(values, lowest, highest));
  if (lowest > 0 && (kind === "logarithmic" || (kind === "auto" && isWide))) {
    return logarithmicScale(lowest, highest, bottom, top);
  }
  const [low, high] = roomFor(lowest, highest);
  const step = niceStep((high - low) / 5);
  const from = Math.floor(low / step) * step;
  const to = Math.ceil(high / step) * step;
  const at = (value: number): number => bottom - ((value - from) / (to - from)) * (bottom - top);
  const label = tickLabels(step, Math.max(Math.abs(from), Math.abs(to)));
  const ticks = multiples(from, to, step).map((value) => ({ value, label: label(value) }));
  return { at, ends: [from, to], ticks, logarithmic: false };
}

/** Half of them lie in the lowest quarter, as a loss does that has fallen; an accuracy that has risen does not. */
function areMostlyLow(values: readonly number[], lowest: number, highest: number): boolean {
  const border = lowest + (highest - lowest) / 4;
  return values.filter((value) => value <= border).length * 2 >= values.length;
}

/** Widens a range that is a single value, and begins at zero where zero is near. */
function roomFor(lowest: number, highest: number): [number, number] {
  const size = Math.max(Math.abs(lowest), Math.abs(highest));
  if (highest - lowest <= size * 1e-9) {
    const room = size === 0 ? 1 : size * 0.1;
    return [lowest - room, highest + room];
  }
  return [lowest > 0 && lowest < highest * 0.3 ? 0 : lowest, highest];
}

function logarithmicScale(lowest: number, highest: number, bottom: number, top: number): Scale {
  const { ends, ticks } = logarithmicTicks(lowest, highest);
  const [from, to] = [Math.log10(ends[0]), Math.log10(ends[1])];
  const at = (value: number): number => bottom - ((Math.log10(value) - from) / (to - from)) * (bottom - top);
  return { at, ends, ticks, logarithmic: true };
}

/** Ends close to the values, and up to ten ticks: at equal distances, at 1, 2 and 5, at 1 and 3, or at powers of ten. */
function logarithmicTicks(lowest: number, highest: number): Pick<Scale, "ends" | "ticks"> {
  const decades = Math.log10(highest / lowest);
  if (decades < 0.7) {
    const [low, high] = highest / lowest < 1 + 1e-9 ? [lowest * 0.9, highest * 1.1] : [lowest, highest];
    const step = niceStep((high - low) / 5);
    // Zero is not on this scale.
    const from = Math.floor(low / step) * step || low;
    const to = Math.ceil(high / step) * step;
    const label = tickLabels(step, to);
    return { ends: [from, to], ticks: multiples(from, to, step).map((value) => ({ value, label: label(value) })) };
  }
  const exponents = [Math.floor(Math.log10(lowest) + 1e-9), Math.ceil(Math.log10(highest) - 1e-9)] as const;
  if (decades >= 4) {
    const powers = multiples(...exponents, Math.max(1, niceStep((exponents[1] - exponents[0]) / 7)));
    const ticks = powers.map((exponent) => ({ value: 10 ** exponent, label: shortMultiple(1, exponent) }));
    return { ends: [10 ** exponents[0], 10 ** exponents[1]], ticks };
  }
  const power = 10 ** Math.floor(Math.log10(highest));
  const ends = [
    Math.floor((lowest / 10 ** exponents[0]) * (1 + 1e-9)) * 10 ** exponents[0],
    Math.ceil((highest / power) * (1 - 1e-9)) * power,
  ] as const;
  const ticks = multiples(...exponents, 1)
    .flatMap((exponent) => (decades < 2.5 ? [1, 2, 5] : [1, 3]).map((factor) => ({ factor, exponent })))
    .map(({ factor, exponent }) => ({ value: factor * 10 ** exponent, label: shortMultiple(factor, exponent) }))
    .filter(({ value }) => value >= ends[0] * (1 - 1e-9) && value <= ends[1] * (1 + 1e-9));
  return { ends, ticks };
}

/** The smallest of 1, 2 and 5 times a power of ten that is not below `step`. */
function niceStep(step: number): number {
  const power = 10 ** Math.floor(Math.log10(step));
  const factor = [1, 2, 5].find((candidate) => candidate * power >= step * (1 - 1e-9)) ?? 10;
  return factor * power;
}

/** Multiples of `step` from `from` to `to`, both included; `step` may be inexact. */
function multiples(from: number, to: number, step: number): number[] {
  const first = Math.ceil(from / step - 1e-6);
  const last = Math.floor(to / step + 1e-6);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => (first + index) * step);
}

/** Labels with just the digits that tell neighbouring ticks apart. */
function tickLabels(step: number, largest: number): (value: number) => string {
  const stepExponent = Math.floor(Math.log10(step) + 1e-9);
  if (largest >= 1e6 || largest < 1e-3) {
    return (value) => {
      if (Math.abs(value) < step / 2) return "0";
      const digits = Math.max(0, Math.floor(Math.log10(Math.abs(value)) + 1e-9) - stepExponent);
      return value.toExponential(Math.min(digits, 15)).replace("+", "");
    };
  }
  const decimals = Math.max(0, -stepExponent);
  return (value) => (decimals === 0 ? formatCount(value) : value.toFixed(decimals).replace(/^-(0\.?0*)$/, "$1"));
}

/** Of a power of ten. */
function shortMultiple(factor: number, exponent: number): string {
  if (exponent < -3 || exponent > 4) return `${factor}e${exponent}`;
  return exponent < 0 ? (factor * 10 ** exponent).toFixed(-exponent) : formatCount(factor * 10 ** exponent);
}
