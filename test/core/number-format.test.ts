import assert from "node:assert/strict";
import { test } from "node:test";
import { formatCount, formatDuration, formatValue } from "../../src/core/number-format.ts";

function check<Input>(format: (input: Input) => string, cases: readonly (readonly [Input, string])[]): void {
  for (const [input, expected] of cases) assert.equal(format(input), expected, `of ${String(input)}`);
}

test("a value has four significant digits, and never hides whole units", () => {
  check(formatValue, [
    [0.53123, "0.5312"],
    [0.5, "0.5000"],
    [0.081234, "0.08123"],
    [9.99996, "10.00"],
    [12.3456, "12.35"],
    [999.94, "999.9"],
    [999.96, "1,000"],
    [1234.5, "1,235"],
    [12345.6, "12,346"],
    [-0.25, "-0.2500"],
    [0, "0"],
    [-0, "0"],
  ]);
});

test("a very small or very large value is written with an exponent", () => {
  check(formatValue, [
    [1e-7, "1e-7"],
    [1.23456e-7, "1.235e-7"],
    [-2.5e-5, "-2.5e-5"],
    [0.0001, "0.0001000"],
    [999_999, "999,999"],
    [999_999.7, "1e6"],
    [3.4e38, "3.4e38"],
    [5e-324, "4.941e-324"],
  ]);
});

test("what is no finite number is named", () => {
  check(formatValue, [
    [Number.NaN, "NaN"],
    [Number.POSITIVE_INFINITY, "∞"],
    [Number.NEGATIVE_INFINITY, "-∞"],
    [null, "–"],
    [undefined, "–"],
  ]);
});

test("a count has its thousands separated, whatever the locale", () => {
  check(formatCount, [
    [0, "0"],
    [7, "7"],
    [999, "999"],
    [1000, "1,000"],
    [1_234_567, "1,234,567"],
    [-1234, "-1,234"],
    [1233.6, "1,234"],
    [-0.2, "0"],
    [1e21, "1e21"],
    [Number.NaN, "NaN"],
  ]);
});

test("a length of time is given in the units that fit it, and never as 60 of the smaller one", () => {
  check(formatDuration, [
    [0, "0.00 s"],
    [0.4211, "0.42 s"],
    [9.999, "10.0 s"],
    [59.94, "59.9 s"],
    [59.96, "1 min 00 s"],
    [65.2, "1 min 05 s"],
    [3599.7, "1 h 00 min"],
    [7399, "2 h 03 min"],
    [86_399.9, "1 d 00 h"],
    [273_600, "3 d 04 h"],
    [-1, "–"],
    [Number.NaN, "–"],
  ]);
});
