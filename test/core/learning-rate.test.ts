import assert from "node:assert/strict";
import { test } from "node:test";
import type { LearningRate, LearningRateSchedule } from "../../src/core/job.ts";
import { initialPlateau, learningRateAt, plateauAfterEpoch } from "../../src/core/learning-rate.ts";

/** The rates of the first updates, four steps an epoch, of a job of three epochs. */
function rates(rate: LearningRate, count = 12): number[] {
  const context = { stepsPerEpoch: 4, epochs: 3, plateau: null };
  return Array.from({ length: count }, (_, updates) => learningRateAt(rate, { ...context, updates }));
}

const near = (actual: readonly number[], expected: readonly number[]) => {
  assert.equal(actual.length, expected.length);
  for (const [i, value] of actual.entries()) assert.ok(Math.abs(value - expected[i]!) < 1e-12, `${i}: ${value}`);
};

test("a number is the rate of every update", () => {
  assert.deepEqual(rates(0.3, 3), [0.3, 0.3, 0.3]);
});

test("step and exponential fall by the factor in each span, at once or little by little", () => {
  const every = { epochs: 1 };
  near(rates({ kind: "step", initial: 8, factor: 0.5, every }, 9), [8, 8, 8, 8, 4, 4, 4, 4, 2]);
  near(rates({ kind: "step", initial: 8, factor: 0.5, every: { steps: 2 } }, 5), [8, 8, 4, 4, 2]);
  near(rates({ kind: "exponential", initial: 8, factor: 0.25, every: { steps: 2 } }, 5), [8, 4, 2, 1, 0.5]);
});

test("a cosine falls to its end over its span, or over the job, and stays there", () => {
  const half = Math.SQRT1_2;
  const over = { steps: 4 };
  near(rates({ kind: "cosine", initial: 2, over }, 6), [2, 1 + half, 1, 1 - half, 0, 0]);
  near(rates({ kind: "cosine", initial: 2, final: 1, over }, 6), [2, 1.5 + half / 2, 1.5, 1.5 - half / 2, 1, 1]);
  const whole = rates({ kind: "cosine", initial: 2 }, 14);
  near([whole[6]!, whole[12]!, whole[13]!], [1, 0, 0]);
});

test("a warm-up rises from 0 to the first rate; the schedule begins when it is over", () => {
  const warmup = { steps: 2 };
  near(rates({ kind: "constant", initial: 4, warmup }, 4), [0, 2, 4, 4]);
  near(rates({ kind: "step", initial: 4, factor: 0.5, every: { steps: 2 }, warmup }, 6), [0, 2, 4, 4, 2, 2]);
  const cosine = rates({ kind: "cosine", initial: 2, warmup: { epochs: 0.5 } }, 13);
  near([cosine[1]!, cosine[2]!, cosine[7]!, cosine[12]!], [1, 2, 1, 0]);
});

type Plateau = Extract<LearningRateSchedule, { kind: "plateau" }>;
const policy = { monitor: "val_loss", mode: "min" } as const;

/** By what the rate is multiplied after each of these values. */
function scales(schedule: Omit<Plateau, "kind" | "initial">, values: readonly (number | undefined)[]): number[] {
  let state = initialPlateau;
  return values.map((value) => {
    const metrics = value === undefined ? {} : { val_loss: value };
    state = plateauAfterEpoch({ kind: "plateau", initial: 1, ...schedule }, policy, state, metrics);
    return state.scale;
  });
}

test("a plateau is so many epochs without a better value; what is missing or no number is never better", () => {
  assert.deepEqual(scales({ factor: 0.5, patience: 2 }, [3, 2, 2, 2, 2, 2, 1]), [1, 1, 1, 0.5, 0.5, 0.25, 0.25]);
  assert.deepEqual(scales({ factor: 0.5, patience: 1 }, [undefined, Number.NaN, 3, 3]), [0.5, 0.25, 0.25, 0.125]);
});

test("less than minDelta is no improvement, and max means that more is better", () => {
  assert.deepEqual(scales({ factor: 0.5, patience: 1, minDelta: 0.5 }, [3, 2.6, 2.4]), [1, 0.5, 0.5]);
  assert.deepEqual(scales({ factor: 0.5, patience: 1, mode: "max" }, [3, 4, 3]), [1, 1, 0.5]);
});

test("after a cut nothing is counted until the cooldown ends, as Keras counts it", () => {
  const values = [3, 3, 3, 3, 3, 3];
  assert.deepEqual(scales({ factor: 0.5, patience: 1 }, values), [1, 0.5, 0.25, 0.125, 0.0625, 0.03125]);
  assert.deepEqual(scales({ factor: 0.5, patience: 1, cooldown: 3 }, values), [1, 0.5, 0.5, 0.5, 0.25, 0.25]);
});

test("a plateau's rate never falls below its minimum", () => {
  const rate = { kind: "plateau", initial: 1, minimum: 0.4 } as const;
  const at = (scale: number) =>
    learningRateAt(rate, { updates: 9, stepsPerEpoch: 1, epochs: 1, plateau: { ...initialPlateau, scale } });
  assert.deepEqual([at(1), at(0.5), at(0.25)], [1, 0.5, 0.4]);
});
