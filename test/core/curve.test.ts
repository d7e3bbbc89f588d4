import assert from "node:assert/strict";
import { test } from "node:test";
import { type BestSoFar, type CheckpointPolicy, judge } from "../../src/core/checkpoint-policy.ts";
import { lossCurve } from "../../src/core/curve.ts";
import { valueScale } from "../../src/core/curve-scale.ts";
import type { EpochHistory } from "../../src/core/status.ts";

const least: CheckpointPolicy = { monitor: "val_loss", mode: "min" };
const most: CheckpointPolicy = { monitor: "val_accuracy", mode: "max" };

function history(
  epochs: number,
  metricsOf: (epoch: number) => Record<string, number>,
  policy: CheckpointPolicy = least,
): EpochHistory[] {
  let best: BestSoFar | null = null;
  return Array.from({ length: epochs }, (_, index) => {
    const metrics = metricsOf(index + 1);
    const judgement = judge(policy, best, { epoch: index + 1, step: index + 1, metrics, data: "" });
    best = judgement.best;
    return { epoch: index + 1, step: index + 1, metrics, improved: judgement.improved };
  });
}

const overfitting = (epoch: number) => ({ loss: 2 / epoch, val_loss: 1 + (epoch - 7) ** 2 / 40 });

/** Fails unless `svg` is well-formed, has no script, and stays on its page; returns it. */
function checked(svg: string): string {
  const open: string[] = [];
  for (const [, close, name, , empty] of svg.matchAll(/<(\/?)([a-z]+)((?:\s+[\w-]+="[^"<]*")*)\s*(\/?)>/g)) {
    if (close) assert.equal(open.pop(), name);
    else if (!empty) open.push(name!);
  }
  assert.deepEqual(open, []);
  const rest = svg.replaceAll(/<\/?[a-z]+(?:\s+[\w-]+="[^"<]*")*\s*\/?>/g, "");
  assert.doesNotMatch(rest, /[<>]|&(?!(amp|lt|gt|quot|#39);)/);
  const wrong = /<script|href|="[^"#]*(NaN|Infinity|undefined|\de[+-]?\d)[^"]*"/.exec(svg);
  assert.equal(wrong?.[0], undefined);
  const numbers = (pattern: RegExp): number[] => [...svg.matchAll(pattern)].map(([, number]) => Number(number));
  for (const x of numbers(/ (?:x|x1|x2|cx)="([^"]*)"/g)) assert.ok(x >= 0 && x <= 800, `x ${x}`);
  for (const y of numbers(/ (?:y|y1|y2|cy)="([^"]*)"/g)) assert.ok(y >= 0 && y <= 450, `y ${y}`);
  for (const points of pointsOf(svg)) {
    for (const [x, y] of points) assert.ok(x >= 28 && x <= 772 && y >= 100 && y <= 401, `point ${x} ${y}`);
  }
  return svg;
}

/** Every path's points. */
function pointsOf(svg: string): [number, number][][] {
  return [...svg.matchAll(/<path class="[^"]*" d="([^"]*)"/g)].map(([, path = ""]) =>
    [...path.matchAll(/[ML]([\d.-]+) ([\d.-]+)/g)].map(([, x, y]) => [Number(x), Number(y)]),
  );
}

function labels(svg: string): string[] {
  return [...svg.matchAll(/<text [^>]*>([^<]*)<\/text>/g)].map(([, label]) => label!);
}

test("the curve shows training and validation loss, with the best epoch marked by a line, a dot and a label", () => {
  const svg = checked(lossCurve(history(14, overfitting), least));
  const [training, validation] = pointsOf(svg);
  assert.equal(training!.length, 14);
  assert.equal(validation!.length, 14);
  const [x, y] = validation![6]!;
  assert.ok(svg.includes(`<circle cx="${x}" cy="${y}"`));
  assert.match(svg, new RegExp(`<line class="stroke-best" x1="${x}" y1="[^"]*" x2="${x}"`));
  assert.ok(labels(svg).includes("★ best: epoch 7, 1.000"));
  assert.ok(labels(svg).includes("14 epochs; best is epoch 7, with the lowest val_loss: 1.000"));
  for (const label of ["training", "validation", "epoch"]) assert.ok(labels(svg).includes(label), label);
});

test("the curve says of which run it is, in few words", () => {
  const told = (job: string, run: number | null) =>
    labels(checked(lossCurve(history(3, overfitting), least, { of: { job, run } }))).at(-1);
  assert.equal(told("digits", 2), "digits, run 2");
  assert.equal(told("digits", null), "digits");
  assert.equal(told("a-job-with-a-long-name", 12), "a-job-with-…, run 12");
});

test("a monitored metric that is no loss has a panel of its own beside the loss", () => {
  const metrics = (epoch: number) => ({ ...overfitting(epoch), accuracy: epoch / 20, val_accuracy: epoch / 25 });
  const svg = checked(lossCurve(history(10, metrics, most), most));
  assert.equal(pointsOf(svg).length, 4);
  assert.ok(Math.max(...pointsOf(svg)[1]!.map(([x]) => x)) < Math.min(...pointsOf(svg)[2]!.map(([x]) => x)));
  assert.deepEqual(
    labels(svg).filter((label) => label.startsWith("★")),
    ["★ best: epoch 10", "★ best: epoch 10, 0.4000"],
  );
  assert.equal(svg.match(/<circle/g)!.length, 2);
});

test("the curve can be read on a light and on a dark page", () => {
  const svg = lossCurve(history(3, overfitting), least);
  const painted = new Set([...svg.matchAll(/class="([^"]*)"/g)].flatMap(([, names]) => names!.split(" ")));
  const dark = /<style>@media \(prefers-color-scheme: dark\) \{(.*)\}<\/style>/.exec(svg)![1]!;
  for (const name of painted) assert.ok(dark.includes(`.${name} {`), name);
  assert.match(svg, /<rect class="fill-page" width="800" height="450" fill="#ffffff"\/>/);
});

test("without validation there is one curve, and best may follow the loss itself", () => {
  const policy: CheckpointPolicy = { monitor: "loss", mode: "min" };
  const svg = checked(
    lossCurve(
      history(5, (epoch) => ({ loss: 1 / epoch }), policy),
      policy,
    ),
  );
  assert.equal(pointsOf(svg).length, 1);
  assert.ok(labels(svg).includes("Training: loss"));
  assert.ok(!labels(svg).includes("validation"));
  assert.ok(labels(svg).includes("★ best: epoch 5, 0.2000"));
});

test("values that are no finite number, and epochs without a record, are gaps; a lone value is a dot", () => {
  const records = history(12, (epoch) => ({ loss: [4, 5, 7].includes(epoch) ? Number.NaN : 1, val_loss: 1e301 }));
  const svg = checked(
    lossCurve(
      records.filter(({ epoch }) => epoch !== 10),
      least,
    ),
  );
  const paths = [...svg.matchAll(/<path class="stroke-training" d="([^"]*)"[^>]*stroke-width="([^"]*)"/g)];
  assert.deepEqual(
    paths.map(([, path, width]) => [path!.match(/M/g)!.length, Number(width)]),
    [
      [3, 2.25], // epochs 1 to 3, 8 and 9, 11 and 12
      [1, 7], // epoch 6
    ],
  );
  assert.doesNotMatch(svg, /<path class="stroke-validation"/);
});

test("no epoch, one epoch, and epochs without a finite value still make a picture", () => {
  assert.ok(labels(checked(lossCurve([], least))).includes("No epoch has been completed yet."));
  const one = checked(lossCurve(history(1, overfitting), least));
  assert.deepEqual(
    pointsOf(one).map((points) => points.length),
    [1, 1],
  );
  assert.ok(!/stroke-training"[^>]*stroke-width="1"/.test(one));
  const none = checked(
    lossCurve(
      history(3, () => ({ loss: Number.NaN, val_loss: Number.POSITIVE_INFINITY })),
      least,
    ),
  );
  assert.ok(labels(none).includes("Nothing to draw: no value is a finite number."));
});

test("ten thousand epochs are thinned out without losing a spike", () => {
  const svg = checked(
    lossCurve(
      history(10_000, (epoch) => ({ loss: 1 + (epoch % 7) / 10, val_loss: epoch === 7777 ? 9 : 2 })),
      least,
    ),
  );
  assert.ok(svg.length < 100_000, `${svg.length} characters`);
  const heights = pointsOf(svg)[1]!.map(([, y]) => y);
  assert.equal(heights.filter((y) => y < 200).length, 1);
});

test("huge, tiny, negative, equal and nearly equal values have an axis with different labels", () => {
  const cases: Record<string, (epoch: number) => number> = {
    huge: (epoch) => 3e38 * (epoch / 10),
    beyond: (epoch) => (epoch % 2 === 0 ? 1e300 : -1e300),
    tiny: (epoch) => 1e-7 * epoch,
    smallest: (epoch) => 1e-300 * (1 + epoch / 10),
    negative: (epoch) => -2.5 * epoch,
    equal: () => 0.5,
    zero: () => 0,
    close: (epoch) => 0.5 + epoch * 1e-7,
    closest: (epoch) => 0.5 + epoch * 1e-16,
    wide: (epoch) => 10 ** (epoch * 20 - 110),
  };
  for (const [name, at] of Object.entries(cases)) {
    const svg = checked(
      lossCurve(
        history(10, (epoch) => ({ loss: at(epoch), val_loss: at(epoch) })),
        least,
      ),
    );
    const ticks = [...svg.matchAll(/text-anchor="end"[^>]*>([^<]*)</g)].map(([, label]) => label);
    assert.ok(ticks.length >= 3 && ticks.length <= 12, `${name}: ${ticks.join(" ")}`);
    assert.equal(new Set(ticks).size, ticks.length, `${name}: ${ticks.join(" ")}`);
  }
});

test("values that lie orders of magnitude apart are drawn on a logarithmic scale, and the picture says so", () => {
  const wide = lossCurve(
    history(5, (epoch) => ({ loss: 10 ** -epoch, val_loss: 1 })),
    least,
  );
  assert.ok(labels(wide).includes("logarithmic scale"));
  assert.ok(!labels(lossCurve(history(5, overfitting), least)).includes("logarithmic scale"));
});

test("a validation loss that rises again is seen to rise, however high training began; an accuracy stays linear", () => {
  const metrics = (epoch: number) => ({
    ...{ loss: 2.3 / epoch, val_loss: epoch <= 14 ? 0.9 / epoch : 0.0643 + (epoch - 14) * 0.001 },
    ...{ accuracy: 1 - 0.97 / epoch, val_accuracy: 1 - 0.98 / epoch },
  });
  const auto = lossCurve(history(30, metrics, most), most);
  const rise = (svg: string) => pointsOf(svg)[1]![13]![1] - pointsOf(svg)[1]![29]![1];
  assert.ok(rise(checked(auto)) >= 12, `${rise(auto)} pixels`);
  assert.equal(labels(auto).filter((label) => label === "logarithmic scale").length, 1, "of the loss alone");
  const linear = checked(lossCurve(history(30, metrics, most), most, { scale: "linear" }));
  assert.ok(rise(linear) <= 3, `${rise(linear)} pixels`);
  const logarithmic = checked(lossCurve(history(30, metrics, most), most, { scale: "logarithmic" }));
  assert.equal(labels(logarithmic).filter((label) => label === "logarithmic scale").length, 2);
});

test("a logarithmic scale ends close to its values and has a few ticks, unless a value is not above zero", () => {
  const scaled = (...values: number[]) => valueScale(values, 0, 1, "logarithmic");
  const cases: readonly (readonly [low: number, high: number, ends: readonly number[], ticks: string])[] = [
    [0.063, 2.3, [0.06, 3], "0.1 0.2 0.5 1 2"],
    [0.001, 0.9, [0.001, 0.9], "0.001 0.003 0.01 0.03 0.1 0.3"],
    [3, 29, [3, 30], "5 10 20"],
    [1, 1.5, [1, 1.5], "1.0 1.1 1.2 1.3 1.4 1.5"],
    [0.9, 12_000, [0.1, 100_000], "0.1 1 10 100 1,000 10,000 1e5"],
  ];
  for (const [low, high, ends, ticks] of cases) {
    const scale = scaled(low, high);
    for (const [i, end] of ends.entries()) assert.ok(Math.abs(scale.ends[i]! / end - 1) < 1e-9, `${scale.ends}`);
    assert.equal(scale.ticks.map(({ label }) => label).join(" "), ticks);
    for (const value of [low, high]) assert.ok(scale.at(value) >= 0 && scale.at(value) <= 1, `${value}`);
  }
  assert.equal(scaled(0.5).logarithmic, true, "one value");
  for (const least of [0, -1]) assert.equal(scaled(least, 5).logarithmic, false);
});

test("names from outside cannot break out of the picture", () => {
  const monitor = `val_</text><script>"&'\u0001`;
  const policy: CheckpointPolicy = { monitor, mode: "max" };
  checked(
    lossCurve(
      history(3, (epoch) => ({ loss: 1, [monitor]: epoch }), policy),
      policy,
    ),
  );
});

test("an epoch that is recorded twice counts once, with what was recorded last", () => {
  const [first] = history(1, () => ({ loss: 5, val_loss: 5 }));
  const again = history(2, () => ({ loss: 1, val_loss: 1 }));
  assert.equal(lossCurve([first!, ...again], least), lossCurve(again, least));
});
