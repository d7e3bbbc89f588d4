/** Where values go on the page, and which of them are named beside an axis. */
import { formatCount } from "./number-format.ts";

/** Maps values to pixels along one axis. */
export interface Scale {
  readonly at: (value: number) => number;
  readonly ticks: readonly { readonly value: number; readonly label: string }[];
  readonly logarithmic: boolean;
}

/** Whole epochs from the first to the last. */
export function epochScale(first: number, last: number, left: number, right: number): Scale {
  const span = last - first;
  const at = (epoch: number): number =>
    span === 0 ? (left + right) / 2 : left + ((epoch - first) / span) * (right - left);
  const step = Math.max(1, niceStep(span / Math.max(2, Math.floor((right - left) / 64))));
  const ticks = multiples(first, last, step);
  // The first epoch is where reading begins: name it if the next name is far enough away.
  if (ticks[0] !== first && (ticks.length === 0 || at(ticks[0]!) - at(first) > 30)) ticks.unshift(first);
  return { at, ticks: ticks.map((value) => ({ value, label: formatCount(value) })), logarithmic: false };
}

/** Linear, or logarithmic where the values lie so far apart that a line would show one of them alone. */
export function valueScale(values: readonly number[], bottom: number, top: number): Scale {
  // Not spread into Math.min: a history can be longer than an argument list.
  const lowest = values.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);
  const highest = values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  if (lowest > 0 && highest / lowest >= 1000) return logarithmicScale(lowest, highest, bottom, top);
  const [low, high] = roomFor(lowest, highest);
  const step = niceStep((high - low) / 5);
  const from = Math.floor(low / step) * step;
  const to = Math.ceil(high / step) * step;
  const at = (value: number): number => bottom - ((value - from) / (to - from)) * (bottom - top);
  const label = tickLabels(step, Math.max(Math.abs(from), Math.abs(to)));
  return { at, ticks: multiples(from, to, step).map((value) => ({ value, label: label(value) })), logarithmic: false };
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
  const from = Math.floor(Math.log10(lowest));
  const to = Math.ceil(Math.log10(highest));
  const at = (value: number): number => bottom - ((Math.log10(value) - from) / (to - from)) * (bottom - top);
  const exponents = multiples(from, to, Math.max(1, niceStep((to - from) / 7)));
  const ticks = exponents.map((exponent) => ({ value: 10 ** exponent, label: shortPower(exponent) }));
  return { at, ticks, logarithmic: true };
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

function shortPower(exponent: number): string {
  return exponent >= -3 && exponent <= 4 ? formatPlain(exponent) : `1e${exponent}`;
}

function formatPlain(exponent: number): string {
  return exponent < 0 ? (10 ** exponent).toFixed(-exponent) : formatCount(10 ** exponent);
}
